/* Letters and digits as strokes, so that pictures do not hang on the fonts of a machine. */
#ifndef SC_GLYPHS_H
#define SC_GLYPHS_H

#define SC_GLYPH_WIDTH 4
#define SC_GLYPH_HEIGHT 6

/* Points "xy" (0-4 from the left, 0-6 from the top) in lines parted by spaces: "06 20 46" is drawn without
 * lifting the pen, '/' lifts it. For 'A' to 'Z' and '0' to '9'; NULL for others. */
const char *sc_glyph(char c);
#endif
