/* The built-in world vocabulary: the text of data/rwkv_vocab_v20230424.txt, taken in by the assembler
 * and parsed at first use (some ten milliseconds). A lock instead of pthread_once, so that a failed first
 * try (out of memory) can be repeated; the vocabulary is kept until the program ends. */
#include "text/vocab.h"

#include <pthread.h>

/* The folder of the file is on the include path of this room (CMakeLists.txt). */
__asm__(".pushsection .rodata\n"
        ".global vr_world_text\n"
        ".hidden vr_world_text\n"
        "vr_world_text:\n"
        ".incbin \"rwkv_vocab_v20230424.txt\"\n"
        ".global vr_world_text_end\n"
        ".hidden vr_world_text_end\n"
        "vr_world_text_end:\n"
        ".byte 0\n"
        ".balign 16\n"
        ".popsection\n");
extern const char vr_world_text[] __attribute__((visibility("hidden")));
extern const char vr_world_text_end[] __attribute__((visibility("hidden")));

vr_status vr_vocab_world(const vr_vocab **out, vr_error *err) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static vr_vocab *world;
    vr_status status = VRWKV_OK;
    pthread_mutex_lock(&lock);
    if (!world)
        status = vr_vocab_parse(&world, vr_world_text, (size_t)((uintptr_t)vr_world_text_end - (uintptr_t)vr_world_text), err);
    *out = world;
    pthread_mutex_unlock(&lock);
    return status;
}
