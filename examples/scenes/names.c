#include "names.h"

#include <stddef.h>

const sc_term sc_things[SC_THINGS] = {
    {{"circle", "圆形"}},  {{"square", "正方形"}}, {{"triangle", "三角形"}}, {{"star", "五角星"}},
    {{"cross", "十字形"}}, {{"ring", "圆环"}},     {{"digit", "数字"}},      {{"word", "单词"}},
};
const sc_term sc_plurals[SC_SHAPES] = {
    {{"circles", "圆形"}}, {{"squares", "正方形"}}, {{"triangles", "三角形"}},
    {{"stars", "五角星"}}, {{"crosses", "十字形"}}, {{"rings", "圆环"}},
};

const sc_term sc_colours[SC_COLOURS] = {
    {{"red", "红色"}},  {{"orange", "橙色"}}, {{"yellow", "黄色"}}, {{"green", "绿色"}},
    {{"blue", "蓝色"}}, {{"purple", "紫色"}}, {{"pink", "粉色"}},   {{"black", "黑色"}},
};
/* Far from each other and from the light grey grounds, as the drawing's small changes leave them. */
const unsigned char sc_rgb[SC_COLOURS][3] = {
    {220, 35, 35}, {250, 135, 20}, {240, 215, 20},  {40, 160, 60},
    {35, 80, 220}, {120, 40, 170}, {255, 135, 195}, {25, 25, 25},
};
static const unsigned char held_out[SC_COLOURS] = {SC_STAR,     SC_RING,   SC_CROSS, SC_CIRCLE,
                                                    SC_TRIANGLE, SC_SQUARE, SC_STAR,  SC_RING};

const sc_term sc_sizes[SC_SIZES] = {{{"small", "小"}}, {{"big", "大"}}};
const sc_term sc_bigger[SC_SIZES] = {{{"smaller", "小"}}, {{"bigger", "大"}}};

const sc_term sc_places[SC_PLACES] = {
    {{"top left", "左上角"}},    {{"top", "上边"}},    {{"top right", "右上角"}},
    {{"left", "左边"}},          {{"middle", "中间"}}, {{"right", "右边"}},
    {{"bottom left", "左下角"}}, {{"bottom", "下边"}}, {{"bottom right", "右下角"}},
};
const sc_term sc_at[SC_PLACES] = {
    {{"at the top left", "左上角"}},    {{"at the top", "上边"}},    {{"at the top right", "右上角"}},
    {{"on the left", "左边"}},          {{"in the middle", "中间"}}, {{"on the right", "右边"}},
    {{"at the bottom left", "左下角"}}, {{"at the bottom", "下边"}}, {{"at the bottom right", "右下角"}},
};

const sc_term sc_directions[SC_DIRECTIONS] = {
    {{"left", "左边"}}, {{"right", "右边"}}, {{"above", "上边"}}, {{"below", "下边"}},
};
const sc_term sc_relations[SC_DIRECTIONS] = {
    {{"left of", "左边"}}, {{"right of", "右边"}}, {{"above", "上边"}}, {{"below", "下边"}},
};

const sc_term sc_attributes[SC_ATTRIBUTES] = {
    {{"colour", "颜色"}}, {{"shape", "形状"}}, {{"size", "大小"}}, {{"place", "位置"}}, {{"text", "文字"}},
};

const char *const sc_words[SC_WORDS] = {
    "CAT",  "DOG",  "SUN",  "CAR",  "CUP",  "BOX",  "HAT",   "PEN",   "BUS",   "KEY",   "MAP",
    "FISH", "BIRD", "BOOK", "MOON", "LION", "FROG", "MILK",  "RAIN",  "SHIP",  "DOOR",  "TREE",
    "APPLE", "HOUSE", "BREAD", "CHAIR", "WATER", "TRAIN", "HORSE", "TIGER", "PLANT", "QUEEN",
};

const char *sc_value_name(sc_attribute attribute, int value, sc_language language) {
    static const char *const digits[SC_DIGITS] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
    static const sc_term *const names[SC_ATTRIBUTES] = {sc_colours, sc_things, sc_sizes, sc_places, NULL};
    if (attribute == SC_TEXT) return value < SC_DIGITS ? digits[value] : sc_words[value - SC_DIGITS];
    return names[attribute][value].in[language];
}

bool sc_held_out(int shape, int colour) { return shape == held_out[colour]; }
int sc_held_out_shape(int colour) { return held_out[colour]; }
