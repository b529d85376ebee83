/* The processes that train one model together (MPI), or a team of one: each computes its share of every batch,
 * and the gradients are added up, so that all of them take the same step.
 *
 * All functions but the last ones are collective: every process calls them in the same order, or those that did
 * wait for ever. So a process that fails does not return at once: it goes on to the next vr_team_agree with its
 * status, and there all of them fail alike. Two sources, of which the build takes one (CMake's VRWKV_MPI):
 *
 *     team/alone.c   a team of one; refuses to be started as one of several
 *     team/mpi.c     as many as mpirun started; a process started by itself is alone, and does not start MPI
 *
 * One thread alone may call them, the one that opened the team. */
#ifndef VR_TRAIN_TEAM_H
#define VR_TRAIN_TEAM_H
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

/* NULL in its place is a team of one. */
typedef struct vr_team {
    int rank, size; /* this process's number, from 0; their number */
} vr_team;

/* Once per process, before any other. VRWKV_ERR_UNSUPPORTED: one of several, in a program built without MPI;
 * VRWKV_ERR_IO: MPI's own errors, here and below. */
vr_status vr_team_open(vr_team *team, vr_error *err);
/* Waits for the others: mpirun ends all processes as soon as one has ended with an error. */
void vr_team_close(const vr_team *team);

/* VRWKV_OK where every process came with it. Else the status and the message of the first that did not, the same
 * in all of them; "process 2: " stands in front of what is not process 0's. To agree again changes nothing. */
vr_status vr_team_agree(const vr_team *team, vr_status status, vr_error *err);
/* The sum, and the largest, of all processes' numbers [n], in place; the same bits in all of them. */
vr_status vr_team_sum(const vr_team *team, double *numbers, int n, vr_error *err);
vr_status vr_team_sum_floats(const vr_team *team, float *numbers, int64_t n, vr_error *err);
vr_status vr_team_largest(const vr_team *team, int64_t *numbers, int n, vr_error *err);
/* Process 0's bytes, to all. */
vr_status vr_team_share(const vr_team *team, void *bytes, size_t n, vr_error *err);

/* These are not collective. Of n things that are shared out, process `rank` has [n rank / size, n (rank + 1) / size). */
static inline bool vr_team_is_first(const vr_team *team) { return !team || team->rank == 0; }
static inline int64_t vr_team_begin(const vr_team *team, int64_t n) { return team ? n * team->rank / team->size : 0; }
static inline int64_t vr_team_share_of(const vr_team *team, int64_t n) {
    return team ? n * (team->rank + 1) / team->size - vr_team_begin(team, n) : n;
}
#endif
