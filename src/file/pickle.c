/* The pickle machine: one table row per opcode, one per global that is let in.
 * Opcodes: Python's pickletools.py; persistent ids and globals: torch/serialization.py. */
#include "file/pickle.h"
#include "file/internal.h"

#include <stdlib.h>

#define STACK_LIMIT ((size_t)1 << 20)
#define NODE_LIMIT ((size_t)1 << 20)
#define POOL_LIMIT ((size_t)1 << 23)

typedef enum global_kind { MAKES_DICT, MAKES_TENSOR, MAKES_PARAMETER, IS_STORAGE } global_kind;

struct vr_global {
    const char *module, *name;
    global_kind kind;
    vr_dtype dtype;
};

static const vr_global globals[] = {
    {"collections", "OrderedDict", MAKES_DICT, VR_F32},
    {"torch._utils", "_rebuild_tensor_v2", MAKES_TENSOR, VR_F32},
    {"torch._utils", "_rebuild_parameter", MAKES_PARAMETER, VR_F32},
    {"torch", "FloatStorage", IS_STORAGE, VR_F32},
    {"torch", "HalfStorage", IS_STORAGE, VR_F16},
    {"torch", "BFloat16Storage", IS_STORAGE, VR_BF16},
    {"torch", "DoubleStorage", IS_STORAGE, VR_F64},
    {"torch", "LongStorage", IS_STORAGE, VR_I64},
    {"torch", "IntStorage", IS_STORAGE, VR_I32},
    {"torch", "ShortStorage", IS_STORAGE, VR_I16},
    {"torch", "CharStorage", IS_STORAGE, VR_I8},
    {"torch", "ByteStorage", IS_STORAGE, VR_U8},
    {"torch", "BoolStorage", IS_STORAGE, VR_BOOL},
};

typedef struct machine {
    vr_pickle *pickle;
    const char *path;
    const unsigned char *data;
    vr_cursor in;
    size_t at; /* of the opcode, for messages */
    bool stopped;
    vr_value *stack;
    size_t n_stack, stack_capacity;
    vr_value *memo; /* MARK: nothing was put there */
    size_t n_memo, memo_capacity;
    vr_error *err;
} machine;

typedef struct opcode {
    vr_status (*run)(machine *m, int argument);
    int argument;
} opcode;

static vr_status broken(machine *m, const char *what) {
    return vr_fail(m->err, VRWKV_ERR_FORMAT, "'%s': the pickle is damaged at byte %zu: %s", m->path, m->at, what);
}

static vr_status push(machine *m, vr_value value) {
    if (m->n_stack >= STACK_LIMIT) return broken(m, "its stack passes 1048576 values");
    VR_TRY(vr_grow(&m->stack, &m->stack_capacity, m->n_stack + 1, sizeof value, m->err));
    m->stack[m->n_stack++] = value;
    return VRWKV_OK;
}

/* The top value, which is no mark. */
static vr_status pop(machine *m, vr_value *value) {
    if (m->n_stack == 0 || m->stack[m->n_stack - 1].type == VR_VALUE_MARK) return broken(m, "its stack has no value to take");
    *value = m->stack[--m->n_stack];
    return VRWKV_OK;
}

/* Takes all values above the last mark, and the mark; they stay readable at *items until the next push. */
static vr_status pop_mark(machine *m, const vr_value **items, size_t *n) {
    size_t at = m->n_stack;
    while (at > 0 && m->stack[at - 1].type != VR_VALUE_MARK) at--;
    if (at == 0) return broken(m, "its stack has no mark");
    *items = m->stack + at;
    *n = m->n_stack - at;
    m->n_stack = at - 1;
    return VRWKV_OK;
}

static vr_status number(machine *m, int bytes, uint64_t *value) {
    const unsigned char *at = vr_take(&m->in, (uint64_t)bytes);
    if (!at) return broken(m, "it ends within an opcode");
    *value = 0;
    for (int i = 0; i < bytes; i++) *value |= (uint64_t)at[i] << 8 * i;
    return VRWKV_OK;
}

/* Length of `width` bytes, then so many bytes. */
static vr_status counted(machine *m, int width, const unsigned char **text, size_t *n) {
    uint64_t length;
    VR_TRY(number(m, width, &length));
    *text = vr_take(&m->in, length);
    *n = (size_t)length;
    return *text ? VRWKV_OK : broken(m, "a text claims more bytes than are left");
}

static vr_status op_skip(machine *m, int bytes) {
    return vr_take(&m->in, (uint64_t)bytes) ? VRWKV_OK : broken(m, "it ends within an opcode");
}

static vr_status op_proto(machine *m, int bytes) {
    uint64_t protocol;
    VR_TRY(number(m, bytes, &protocol));
    if (protocol >= 2 && protocol <= 5) return VRWKV_OK;
    return vr_fail(m->err, VRWKV_ERR_UNSUPPORTED, "'%s': pickle protocol %llu, expected 2 to 5", m->path,
                   (unsigned long long)protocol);
}

static vr_status op_stop(machine *m, int unused) {
    (void)unused;
    m->stopped = true;
    return pop(m, &m->pickle->top);
}

static vr_status op_mark(machine *m, int unused) {
    (void)unused;
    return push(m, (vr_value){.type = VR_VALUE_MARK});
}

static vr_status op_pop(machine *m, int unused) {
    (void)unused;
    if (m->n_stack == 0) return broken(m, "its stack has no value to take");
    m->n_stack--;
    return VRWKV_OK;
}

static vr_status op_pop_mark(machine *m, int unused) {
    const vr_value *items;
    size_t n;
    (void)unused;
    return pop_mark(m, &items, &n);
}

static vr_status op_dup(machine *m, int unused) {
    vr_value value;
    (void)unused;
    VR_TRY(pop(m, &value));
    VR_TRY(push(m, value));
    return push(m, value);
}

/* A value of no interest, `bytes` long. */
static vr_status op_other(machine *m, int bytes) {
    VR_TRY(op_skip(m, bytes));
    return push(m, (vr_value){.type = VR_VALUE_OTHER});
}

static vr_status op_other_counted(machine *m, int width) {
    const unsigned char *text;
    size_t n;
    VR_TRY(counted(m, width, &text, &n));
    return push(m, (vr_value){.type = VR_VALUE_OTHER});
}

static vr_status op_other_marked(machine *m, int unused) {
    VR_TRY(op_pop_mark(m, unused));
    return push(m, (vr_value){.type = VR_VALUE_OTHER});
}

/* Items for a set, which stays as it is. */
static vr_status op_add_items(machine *m, int unused) {
    VR_TRY(op_pop_mark(m, unused));
    if (m->n_stack == 0 || m->stack[m->n_stack - 1].type != VR_VALUE_OTHER) return broken(m, "items are added to no set");
    return VRWKV_OK;
}

static vr_status op_int(machine *m, int bytes) {
    uint64_t value;
    VR_TRY(number(m, bytes, &value));
    /* Of these only the four-byte form has a sign. */
    return push(m, (vr_value){.type = VR_VALUE_INT, .as.integer = bytes == 4 ? (int32_t)(uint32_t)value : (int64_t)value});
}

static vr_status op_long(machine *m, int width) {
    const unsigned char *text;
    size_t n;
    VR_TRY(counted(m, width, &text, &n));
    if (n > 8) return push(m, (vr_value){.type = VR_VALUE_OTHER});
    uint64_t value = n && text[n - 1] & 0x80 ? UINT64_MAX : 0;
    for (size_t i = n; i-- > 0;) value = value << 8 | text[i];
    return push(m, (vr_value){.type = VR_VALUE_INT, .as.integer = (int64_t)value});
}

static vr_status op_text(machine *m, int width) {
    const unsigned char *text;
    size_t n;
    VR_TRY(counted(m, width, &text, &n));
    return push(m, (vr_value){.type = VR_VALUE_STRING, .n = (uint32_t)n, .as.text = (const char *)text});
}

static vr_status push_tuple(machine *m, const vr_value *items, size_t n) {
    vr_pickle *p = m->pickle;
    vr_value tuple = {.type = VR_VALUE_TUPLE, .n = (uint32_t)n, .as.start = p->n_pool};
    if (n > POOL_LIMIT - p->n_pool) return broken(m, "its tuples hold more than 8388608 values");
    VR_TRY(vr_grow(&p->pool, &p->pool_capacity, p->n_pool + n + 1, sizeof *items, m->err));
    if (n) memcpy(p->pool + p->n_pool, items, n * sizeof *items);
    p->n_pool += n;
    return push(m, tuple);
}

static vr_status op_tuple(machine *m, int n) {
    for (int i = 1; i <= n; i++)
        if (m->n_stack < (size_t)i || m->stack[m->n_stack - (size_t)i].type == VR_VALUE_MARK)
            return broken(m, "its stack has no value to take");
    m->n_stack -= (size_t)n;
    return push_tuple(m, n ? m->stack + m->n_stack : NULL, (size_t)n);
}

static vr_status op_tuple_marked(machine *m, int unused) {
    const vr_value *items;
    size_t n;
    (void)unused;
    VR_TRY(pop_mark(m, &items, &n));
    return push_tuple(m, items, n);
}

static vr_status add_items(machine *m, vr_value to, const vr_value *items, size_t n) {
    if (to.type == VR_VALUE_DICT && n % 2) return broken(m, "a dict gets a key without a value");
    vr_node *node = &m->pickle->nodes[to.as.node];
    if (n == 0) return VRWKV_OK;
    VR_TRY(vr_grow(&node->items, &node->capacity, node->n + n, sizeof *items, m->err));
    memcpy(node->items + node->n, items, n * sizeof *items);
    node->n += n;
    return VRWKV_OK;
}

static vr_status push_node(machine *m, int type, const vr_value *items, size_t n) {
    vr_pickle *p = m->pickle;
    if (p->n_nodes >= NODE_LIMIT) return broken(m, "it has more than 1048576 lists and dicts");
    VR_TRY(vr_grow(&p->nodes, &p->node_capacity, p->n_nodes + 1, sizeof *p->nodes, m->err));
    vr_value value = {.type = (uint32_t)type, .as.node = p->n_nodes++};
    p->nodes[value.as.node] = (vr_node){0};
    VR_TRY(add_items(m, value, items, n));
    return push(m, value);
}

static vr_status op_empty(machine *m, int type) { return push_node(m, type, NULL, 0); }

static vr_status op_node_marked(machine *m, int type) {
    const vr_value *items;
    size_t n;
    VR_TRY(pop_mark(m, &items, &n));
    return push_node(m, type, items, n);
}

/* One item of a list, one key and value of a dict. */
static vr_status op_add(machine *m, int type) {
    size_t n = type == VR_VALUE_DICT ? 2 : 1;
    if (m->n_stack < n + 1) return broken(m, "its stack has no value to take");
    for (size_t i = 1; i <= n; i++)
        if (m->stack[m->n_stack - i].type == VR_VALUE_MARK) return broken(m, "its stack has no value to take");
    m->n_stack -= n;
    vr_value to = m->stack[m->n_stack - 1];
    if (to.type != (uint32_t)type) return broken(m, "an item is added to what is no list or dict");
    return add_items(m, to, m->stack + m->n_stack, n);
}

static vr_status op_add_marked(machine *m, int type) {
    const vr_value *items;
    size_t n;
    VR_TRY(pop_mark(m, &items, &n));
    if (m->n_stack == 0 || m->stack[m->n_stack - 1].type != (uint32_t)type)
        return broken(m, "items are added to what is no list or dict");
    return add_items(m, m->stack[m->n_stack - 1], items, n);
}

static vr_status memo_set(machine *m, uint64_t index) {
    if (m->n_stack == 0 || m->stack[m->n_stack - 1].type == VR_VALUE_MARK) return broken(m, "its stack has no value to keep");
    /* Each entry costs at least two bytes of pickle, so no true index reaches the pickle's size. */
    if (index >= (uint64_t)(m->in.end - m->data) || index >= POOL_LIMIT)
        return broken(m, "a memo index is larger than the pickle");
    if (index >= m->n_memo) {
        VR_TRY(vr_grow(&m->memo, &m->memo_capacity, (size_t)index + 1, sizeof *m->memo, m->err));
        while (m->n_memo <= index) m->memo[m->n_memo++] = (vr_value){.type = VR_VALUE_MARK};
    }
    m->memo[index] = m->stack[m->n_stack - 1];
    return VRWKV_OK;
}

static vr_status op_put(machine *m, int bytes) {
    uint64_t index;
    VR_TRY(number(m, bytes, &index));
    return memo_set(m, index);
}

static vr_status op_memoize(machine *m, int unused) {
    (void)unused;
    return memo_set(m, m->n_memo);
}

static vr_status op_get(machine *m, int bytes) {
    uint64_t index;
    VR_TRY(number(m, bytes, &index));
    if (index >= m->n_memo || m->memo[index].type == VR_VALUE_MARK) return broken(m, "it asks for a memo entry that is not set");
    return push(m, m->memo[index]);
}

static bool same(const char *known, const void *text, size_t n) { return strlen(known) == n && memcmp(known, text, n) == 0; }

static vr_status push_global(machine *m, const void *module, size_t module_bytes, const void *name, size_t name_bytes) {
    char shown[2][VR_SHOW_SIZE];
    for (size_t i = 0; i < VR_COUNT(globals); i++)
        if (same(globals[i].module, module, module_bytes) && same(globals[i].name, name, name_bytes))
            return push(m, (vr_value){.type = VR_VALUE_GLOBAL, .as.global = &globals[i]});
    return vr_fail(m->err, VRWKV_ERR_UNSUPPORTED,
                   "'%s' refuses to load '%s.%s': of a checkpoint only dicts and plain tensors are read", m->path,
                   vr_show(module, module_bytes, shown[0]), vr_show(name, name_bytes, shown[1]));
}

static vr_status op_global(machine *m, int unused) {
    const unsigned char *line[2], *end;
    (void)unused;
    for (int i = 0; i < 2; i++) {
        line[i] = m->in.at;
        end = memchr(line[i], '\n', vr_left(&m->in));
        if (!end) return broken(m, "a global has no line end");
        m->in.at = end + 1;
    }
    return push_global(m, line[0], (size_t)(line[1] - line[0] - 1), line[1], (size_t)(m->in.at - line[1] - 1));
}

static vr_status op_stack_global(machine *m, int unused) {
    vr_value module, name;
    (void)unused;
    VR_TRY(pop(m, &name));
    VR_TRY(pop(m, &module));
    if (module.type != VR_VALUE_STRING || name.type != VR_VALUE_STRING) return broken(m, "a global's name is no text");
    return push_global(m, module.as.text, module.n, name.as.text, name.n);
}

/* OrderedDict(): or, in old pickles, of a list of [key, value] pairs. */
static vr_status make_dict(machine *m, vr_value arguments) {
    size_t n, n_pairs, n_pair;
    const vr_value *items = vr_pickle_items(m->pickle, arguments, &n);
    VR_TRY(push_node(m, VR_VALUE_DICT, NULL, 0));
    if (n == 0) return VRWKV_OK;
    if (n != 1 || items[0].type != VR_VALUE_LIST) return broken(m, "OrderedDict has unknown arguments");
    vr_value list = items[0], dict = m->stack[m->n_stack - 1];
    vr_pickle_items(m->pickle, list, &n_pairs);
    for (size_t i = 0; i < n_pairs; i++) {
        vr_value pair = vr_pickle_items(m->pickle, list, &n_pairs)[i];
        const vr_value *both = vr_pickle_items(m->pickle, pair, &n_pair);
        if ((pair.type != VR_VALUE_LIST && pair.type != VR_VALUE_TUPLE) || n_pair != 2)
            return broken(m, "OrderedDict has unknown arguments");
        VR_TRY(add_items(m, dict, both, 2));
    }
    return VRWKV_OK;
}

static vr_status op_reduce(machine *m, int unused) {
    vr_value arguments, callable;
    size_t n;
    (void)unused;
    VR_TRY(pop(m, &arguments));
    VR_TRY(pop(m, &callable));
    if (callable.type != VR_VALUE_GLOBAL || arguments.type != VR_VALUE_TUPLE)
        return broken(m, "it calls what is no known function");
    const vr_value *items = vr_pickle_items(m->pickle, arguments, &n);
    switch (callable.as.global->kind) {
    case MAKES_DICT: return make_dict(m, arguments);
    case MAKES_TENSOR: arguments.type = VR_VALUE_TENSOR; return push(m, arguments);
    case MAKES_PARAMETER:
        if (n == 0 || items[0].type != VR_VALUE_TENSOR) return broken(m, "a parameter holds no tensor");
        return push(m, items[0]);
    case IS_STORAGE: break;
    }
    return broken(m, "it calls a storage type");
}

/* State of an object: only dicts have some (a module's _metadata), and nobody needs it. */
static vr_status op_build(machine *m, int unused) {
    vr_value state;
    (void)unused;
    VR_TRY(pop(m, &state));
    if (m->n_stack == 0 || m->stack[m->n_stack - 1].type != VR_VALUE_DICT) return broken(m, "it gives state to what is no dict");
    return VRWKV_OK;
}

static vr_status op_storage(machine *m, int unused) {
    vr_value id;
    size_t n;
    (void)unused;
    VR_TRY(pop(m, &id));
    const vr_value *items = vr_pickle_items(m->pickle, id, &n);
    if (id.type != VR_VALUE_TUPLE || n != 5 || items[0].type != VR_VALUE_STRING ||
        !same("storage", items[0].as.text, items[0].n) || items[1].type != VR_VALUE_GLOBAL ||
        items[1].as.global->kind != IS_STORAGE || items[2].type != VR_VALUE_STRING || items[4].type != VR_VALUE_INT)
        return broken(m, "a persistent id is not ('storage', type, key, location, count)");
    id.type = VR_VALUE_STORAGE;
    return push(m, id);
}

static const opcode opcodes[256] = {
    [0x80] = {op_proto, 1},      [0x95] = {op_skip, 8}, /* frame */
    ['.'] = {op_stop, 0},        ['('] = {op_mark, 0},
    ['0'] = {op_pop, 0},         ['1'] = {op_pop_mark, 0},
    ['2'] = {op_dup, 0},         ['N'] = {op_other, 0},
    [0x88] = {op_other, 0},      [0x89] = {op_other, 0}, /* True, False */
    ['G'] = {op_other, 8},       ['J'] = {op_int, 4},
    ['K'] = {op_int, 1},         ['M'] = {op_int, 2},
    [0x8a] = {op_long, 1},       [0x8b] = {op_long, 4},
    ['X'] = {op_text, 4},        [0x8c] = {op_text, 1},
    [0x8d] = {op_text, 8},       ['T'] = {op_text, 4},
    ['U'] = {op_text, 1},        ['B'] = {op_other_counted, 4},
    ['C'] = {op_other_counted, 1}, [0x8e] = {op_other_counted, 8},
    [0x96] = {op_other_counted, 8}, [')'] = {op_tuple, 0},
    ['t'] = {op_tuple_marked, 0}, [0x85] = {op_tuple, 1},
    [0x86] = {op_tuple, 2},      [0x87] = {op_tuple, 3},
    [']'] = {op_empty, VR_VALUE_LIST}, ['l'] = {op_node_marked, VR_VALUE_LIST},
    ['a'] = {op_add, VR_VALUE_LIST}, ['e'] = {op_add_marked, VR_VALUE_LIST},
    ['}'] = {op_empty, VR_VALUE_DICT}, ['d'] = {op_node_marked, VR_VALUE_DICT},
    ['s'] = {op_add, VR_VALUE_DICT}, ['u'] = {op_add_marked, VR_VALUE_DICT},
    [0x8f] = {op_other, 0},      [0x90] = {op_add_items, 0}, /* sets */
    [0x91] = {op_other_marked, 0}, ['q'] = {op_put, 1},
    ['r'] = {op_put, 4},         [0x94] = {op_memoize, 0},
    ['h'] = {op_get, 1},         ['j'] = {op_get, 4},
    ['c'] = {op_global, 0},      [0x93] = {op_stack_global, 0},
    ['R'] = {op_reduce, 0},      [0x81] = {op_reduce, 0}, /* of a class: the same */
    ['b'] = {op_build, 0},       ['Q'] = {op_storage, 0},
};

vr_status vr_pickle_read(vr_pickle *pickle, const char *path, const unsigned char *data, size_t size, vr_error *err) {
    machine m = {.pickle = pickle, .path = path, .data = data, .in = {data, data + size}, .err = err};
    vr_status status = VRWKV_OK;
    *pickle = (vr_pickle){0};
    if (size > VR_PICKLE_LIMIT)
        return vr_fail(err, VRWKV_ERR_FORMAT, "'%s': the pickle has %zu bytes, expected at most %zu", path, size,
                       VR_PICKLE_LIMIT);
    while (status == VRWKV_OK && !m.stopped) {
        m.at = (size_t)(m.in.at - data);
        const unsigned char *code = vr_take(&m.in, 1);
        if (!code)
            status = broken(&m, "it ends without a stop");
        else if (!opcodes[*code].run)
            status = vr_fail(err, VRWKV_ERR_UNSUPPORTED,
                             "'%s': pickle opcode 0x%02x at byte %zu is none that a state dict needs", path, *code, m.at);
        else
            status = opcodes[*code].run(&m, opcodes[*code].argument);
    }
    free(m.stack);
    free(m.memo);
    if (status != VRWKV_OK) vr_pickle_free(pickle);
    return status;
}

void vr_pickle_free(vr_pickle *pickle) {
    for (size_t i = 0; i < pickle->n_nodes; i++) free(pickle->nodes[i].items);
    free(pickle->nodes);
    free(pickle->pool);
    *pickle = (vr_pickle){0};
}

const vr_value *vr_pickle_items(const vr_pickle *pickle, vr_value value, size_t *n) {
    *n = 0;
    if (value.type == VR_VALUE_LIST || value.type == VR_VALUE_DICT) {
        *n = pickle->nodes[value.as.node].n;
        return pickle->nodes[value.as.node].items;
    }
    if (value.type != VR_VALUE_TUPLE && value.type != VR_VALUE_STORAGE && value.type != VR_VALUE_TENSOR) return NULL;
    *n = value.n;
    return pickle->pool + value.as.start;
}

vr_dtype vr_pickle_dtype(const vr_pickle *pickle, vr_value storage) {
    return pickle->pool[storage.as.start + 1].as.global->dtype;
}
