/* A team of one, in programs that are built without MPI. */
#include "train/team.h"

#include <stdlib.h>

vr_status vr_team_open(vr_team *team, vr_error *err) {
    const char *size = getenv("OMPI_COMM_WORLD_SIZE");
    *team = (vr_team){.size = 1};
    if (!size || atoi(size) <= 1) return VRWKV_OK;
    return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "started as one of %s processes, but built without MPI (cmake -D VRWKV_MPI=ON)", size);
}

void vr_team_close(const vr_team *team) { (void)team; }

vr_status vr_team_agree(const vr_team *team, vr_status status, vr_error *err) {
    (void)team, (void)err;
    return status;
}

vr_status vr_team_sum(const vr_team *team, double *numbers, int n, vr_error *err) {
    (void)team, (void)numbers, (void)n, (void)err;
    return VRWKV_OK;
}

vr_status vr_team_sum_floats(const vr_team *team, float *numbers, int64_t n, vr_error *err) {
    (void)team, (void)numbers, (void)n, (void)err;
    return VRWKV_OK;
}

vr_status vr_team_largest(const vr_team *team, int64_t *numbers, int n, vr_error *err) {
    (void)team, (void)numbers, (void)n, (void)err;
    return VRWKV_OK;
}

vr_status vr_team_share(const vr_team *team, void *bytes, size_t n, vr_error *err) {
    (void)team, (void)bytes, (void)n, (void)err;
    return VRWKV_OK;
}
