/* Pictures cut into regions of one size (VisualRWKV v7.02 and later): how many. */
#include "image/image.h"

static int64_t distance(int64_t a, int64_t b) { return a > b ? a - b : b - a; }

void vr_image_region_grid(int width, int height, int region_width, int region_height, bool match_area, int *columns,
                          int *rows) {
    int most_columns = (width - 1) / region_width + 1, most_rows = (height - 1) / region_height + 1;
    int64_t least = INT64_MAX;
    *columns = *rows = 1;
    for (int c = most_columns > 1 ? most_columns - 1 : 1; c <= most_columns; c++)
        for (int r = most_rows > 1 ? most_rows - 1 : 1; r <= most_rows; r++) {
            int64_t w = (int64_t)c * region_width, h = (int64_t)r * region_height;
            double across = (double)w / width, down = (double)h / height, scale = across < down ? across : down;
            int64_t waste = distance(w * h, (int64_t)(width * scale) * (int64_t)(height * scale));
            if (match_area) waste += distance(w * h, (int64_t)width * height);
            if (waste >= least) continue; /* the first of equals wins */
            least = waste;
            *columns = c;
            *rows = r;
        }
}
