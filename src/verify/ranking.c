#include "verify/verify.h"
vr_status vr_verify_rank(vr_verify *verify, const vr_case *item, vr_error *err) { (void)verify; (void)item; return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "x"); }
vr_status vr_verify_text_score(vr_verify *verify, const vr_case *item, vr_error *err) { (void)verify; (void)item; return vr_fail(err, VRWKV_ERR_UNSUPPORTED, "x"); }
