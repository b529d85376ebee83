/* The smallest test frame: no library, so that a test also builds for processors for which no test
 * library is installed. A failed check prints and is counted; check_result is main's result. */
#ifndef CHECK_H
#define CHECK_H
#include <stdio.h>

static int check_failures, check_count;

#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        check_count++;                                                                                                 \
        if (!(condition) && ++check_failures <= 40) {                                                                  \
            printf("%s:%d: failed: %s: ", __FILE__, __LINE__, #condition);                                             \
            printf(__VA_ARGS__);                                                                                       \
            printf("\n");                                                                                              \
        }                                                                                                              \
    } while (0)

static inline int check_result(void) {
    printf("%d checks, %d failed\n", check_count, check_failures);
    return check_failures != 0;
}
#endif
