/* A table as an Excel file (.xlsx): one sheet, texts and whole numbers. */
#ifndef VR_EVAL_XLSX_H
#define VR_EVAL_XLSX_H
#include "base/status.h"

#include <jansson.h>

/* columns: a list of texts; rows: a list of lists of texts and numbers. "" leaves a cell empty. Characters
 * that XML cannot hold become U+FFFD; a text is cut at Excel's 32,767 characters. */
vr_status vr_xlsx_save(const char *path, const json_t *columns, const json_t *rows, vr_error *err);
#endif
