/* Teams of MPI. Sums are reduced to process 0 and sent from there: MPI does not promise that what MPI_Allreduce
 * gives is the same to the bit in all processes, and weights that differ in a bit drift apart. */
#include "train/team.h"

#include <mpi.h>
#include <stdlib.h>

enum { PIECE = 1 << 24 }; /* numbers or bytes at a time: MPI counts in ints */

static vr_status check(int code, const char *action, vr_error *err) {
    char text[MPI_MAX_ERROR_STRING];
    int n;
    if (code == MPI_SUCCESS) return VRWKV_OK;
    if (MPI_Error_string(code, text, &n) != MPI_SUCCESS) text[0] = 0;
    return vr_fail(err, VRWKV_ERR_IO, "MPI could not %s: %.400s", action, text);
}

static bool is_alone(const vr_team *team) { return !team || team->size == 1; }

/* Each of these is set by a way of starting processes: mpirun, others that speak PMIx. */
static bool is_started_by_mpi(void) { return getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMIX_RANK"); }

static vr_status join(vr_team *team, vr_error *err) {
    VR_TRY(check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "take its errors", err));
    VR_TRY(check(MPI_Comm_size(MPI_COMM_WORLD, &team->size), "count processes", err));
    return check(MPI_Comm_rank(MPI_COMM_WORLD, &team->rank), "number processes", err);
}

vr_status vr_team_open(vr_team *team, vr_error *err) {
    int level;
    *team = (vr_team){.size = 1};
    if (!is_started_by_mpi()) return VRWKV_OK;
    VR_TRY(check(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level), "start", err));
    return level >= MPI_THREAD_FUNNELED ? join(team, err)
                                        : vr_fail(err, VRWKV_ERR_UNSUPPORTED, "this MPI does not allow processes of several threads");
}

void vr_team_close(const vr_team *team) {
    int is_open = 0;
    if (MPI_Initialized(&is_open) != MPI_SUCCESS || !is_open) return;
    if (!is_alone(team)) MPI_Barrier(MPI_COMM_WORLD);
    MPI_Finalize();
}

vr_status vr_team_agree(const vr_team *team, vr_status status, vr_error *err) {
    vr_error own = {.status = status};
    if (is_alone(team)) return status;
    int first = status == VRWKV_OK ? team->size : team->rank;
    if (status != VRWKV_OK && err) own = *err;
    own.status = status;
    VR_TRY(check(MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD), "agree", err));
    if (first == team->size) return VRWKV_OK;
    VR_TRY(check(MPI_Bcast(&own, sizeof own, MPI_BYTE, first, MPI_COMM_WORLD), "tell an error", err));
    if (first == 0) return vr_fail(err, own.status, "%s", own.message);
    return vr_fail(err, own.status, "process %d: %.1000s", first, own.message);
}

static vr_status sum(const vr_team *team, void *numbers, int n, MPI_Datatype type, vr_error *err) {
    const void *from = team->rank == 0 ? MPI_IN_PLACE : numbers;
    VR_TRY(check(MPI_Reduce(from, numbers, n, type, MPI_SUM, 0, MPI_COMM_WORLD), "add up", err));
    return check(MPI_Bcast(numbers, n, type, 0, MPI_COMM_WORLD), "send sums", err);
}

vr_status vr_team_sum(const vr_team *team, double *numbers, int n, vr_error *err) {
    return is_alone(team) ? VRWKV_OK : sum(team, numbers, n, MPI_DOUBLE, err);
}

vr_status vr_team_sum_floats(const vr_team *team, float *numbers, int64_t n, vr_error *err) {
    for (int64_t at = 0; !is_alone(team) && at < n; at += PIECE)
        VR_TRY(sum(team, numbers + at, (int)(n - at < PIECE ? n - at : PIECE), MPI_FLOAT, err));
    return VRWKV_OK;
}

vr_status vr_team_largest(const vr_team *team, int64_t *numbers, int n, vr_error *err) {
    if (is_alone(team)) return VRWKV_OK;
    return check(MPI_Allreduce(MPI_IN_PLACE, numbers, n, MPI_INT64_T, MPI_MAX, MPI_COMM_WORLD), "compare", err);
}

vr_status vr_team_share(const vr_team *team, void *bytes, size_t n, vr_error *err) {
    for (size_t at = 0; !is_alone(team) && at < n; at += PIECE)
        VR_TRY(check(MPI_Bcast((char *)bytes + at, (int)(n - at < PIECE ? n - at : PIECE), MPI_BYTE, 0, MPI_COMM_WORLD), "send", err));
    return VRWKV_OK;
}
