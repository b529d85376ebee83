#include "train/schedule.h"

#include <math.h>

static double clamp(double x) { return x < 0 ? 0 : x > 1 ? 1 : x; }

vr_rates vr_schedule_at(const vr_schedule *s, int64_t step, double *lr_out, double *decay_out) {
    double real = (double)(step * s->accumulate + s->epoch_begin * s->epoch_steps), warmup = (double)s->warmup;
    double total = (double)((s->epoch_begin + s->epoch_count) * s->epoch_steps), span = total - warmup;
    double progress = span > 0 ? clamp((real - warmup + 1) / span) : 1;
    double lr = s->lr_init, decay = s->decay_init;
    if (s->lr_final != s->lr_init && s->epoch_count > 0)
        lr = s->lr_final + (s->lr_init - s->lr_final) * (0.5 + 0.5 * cos(M_PI * progress));
    if (real < warmup) lr *= 0.1 + 0.9 * real / warmup;
    if (s->decay_final > 0 && s->decay_init > 0) decay *= exp(log(s->decay_final / s->decay_init) * progress);
    if (lr_out) *lr_out = lr;
    if (decay_out) *decay_out = decay;
    double lr_decayed = s->original && s->decay_init > 0 ? s->lr_init : lr;
    return (vr_rates){.lr = {lr, lr_decayed}, .decay = {0, decay}};
}
