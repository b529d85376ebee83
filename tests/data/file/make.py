"""Writes the tensor files beside this script, good and hostile. Needs PyTorch for views.pth alone.

Formats are written here by hand, apart from the library's code, so that each checks the other."""
import collections, io, json, os, pickle, struct, sys, zipfile, zlib

here = os.path.dirname(os.path.abspath(__file__))


def put(name, data):
    with open(os.path.join(here, name), "wb") as f:
        f.write(data)


# ---- safetensors ----

def safetensors(tensors, metadata=None, tail=b""):
    """tensors: [(name, dtype, shape, bytes)]"""
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, dtype, shape, raw in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    return st_raw(json.dumps(header), data + tail)


def st_raw(header, data=b""):
    header = header.encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data


def floats(*values):
    return struct.pack("<%df" % len(values), *values)


good = safetensors([("a", "F32", [2, 3], floats(1, 2, 3, 4, 5, 6)), ("b", "I64", [2], struct.pack("<2q", -1, 2 ** 40)),
                    ("odd", "U8", [3], b"xyz"), ("late", "F16", [2], struct.pack("<2e", 0.5, -2)),
                    ("scalar", "F32", [], floats(7)), ("none", "F32", [0, 4], b"")],
                   {"format": "pt", "note": "caf\u00e9"})
put("good.safetensors", good)
put("truncated.safetensors", good[:-1])
put("header-cut.safetensors", good[:100])
put("header-huge.safetensors", struct.pack("<Q", 1 << 60) + b"{}")
put("twice.safetensors", st_raw('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', b"xy"))
put("overlap.safetensors", st_raw('{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}', b"xyz"))
put("claim.safetensors", st_raw('{"big":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4]}}', b"xyzw"))
put("claim-overflow.safetensors", st_raw('{"big":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}'))
put("axes.safetensors", st_raw('{"six":{"dtype":"U8","shape":[1,1,1,1,1,1],"data_offsets":[0,1]}}', b"x"))
put("dtype.safetensors", st_raw('{"eight":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}', b"x"))
put("negative.safetensors", st_raw('{"n":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}', b"x"))
put("control.safetensors", st_raw('{"a\\nb":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"x"))
put("wrapped.safetensors", safetensors([("module._orig_mod.a", "F32", [1], floats(5)), ("module._orig_mod.module.b", "F32", [1], floats(6))]))
put("half-wrapped.safetensors", safetensors([("module.a", "F32", [1], floats(5)), ("b", "F32", [1], floats(6))]))
put("shard-1.safetensors", safetensors([("x", "F32", [2], floats(1, 2))], {"format": "pt"}))
put("shard-2.safetensors", safetensors([("y", "F32", [1], floats(3))], {"format": "pt"}))


def index(name, weight_map):
    put(name, json.dumps({"metadata": {"total_size": 12}, "weight_map": weight_map}).encode())


index("model.safetensors.index.json", {"x": "shard-1.safetensors", "y": "shard-2.safetensors"})
index("outside.safetensors.index.json", {"x": "../file/shard-1.safetensors"})
index("missing.safetensors.index.json", {"x": "shard-1.safetensors", "z": "shard-2.safetensors"})

# ---- zip and .pth ----


def zip_bytes(members, deflated=(), wide=False, size_lies={}):
    """members: [(name, bytes)]; wide: all sizes and offsets in zip64 fields."""
    out, central = b"", b""
    for name, raw in members:
        packed = raw
        if name in deflated:
            c = zlib.compressobj(9, zlib.DEFLATED, -15)
            packed = c.compress(raw) + c.flush()
        method, crc, size = (8 if name in deflated else 0), zlib.crc32(raw), size_lies.get(name, len(raw))
        stored = size if method == 0 else len(packed)
        offset, n = len(out), name.encode()
        if wide:
            extra = struct.pack("<HHQQ", 1, 16, size, stored)
            out += struct.pack("<IHHHHHIIIHH", 0x04034b50, 45, 0, method, 0, 33, crc, 2 ** 32 - 1, 2 ** 32 - 1, len(n), len(extra)) + n + extra
            extra = struct.pack("<HHQQQ", 1, 24, size, stored, offset)
            central += struct.pack("<IHHHHHHIIIHHHHHII", 0x02014b50, 45, 45, 0, method, 0, 33, crc, 2 ** 32 - 1, 2 ** 32 - 1, len(n), len(extra), 0, 0, 0, 0, 2 ** 32 - 1) + n + extra
        else:
            out += struct.pack("<IHHHHHIIIHH", 0x04034b50, 20, 0, method, 0, 33, crc, stored, size, len(n), 0) + n
            central += struct.pack("<IHHHHHHIIIHHHHHII", 0x02014b50, 20, 20, 0, method, 0, 33, crc, stored, size, len(n), 0, 0, 0, 0, 0, offset) + n
        out += packed
    start, count = len(out), len(members)
    out += central
    if wide:
        out += struct.pack("<IQHHIIQQQQ", 0x06064b50, 44, 45, 45, 0, 0, count, count, len(central), start)
        out += struct.pack("<IIQI", 0x07064b50, 0, start + len(central), 1)
        return out + struct.pack("<IHHHHIIH", 0x06054b50, 0, 0, 0xffff, 0xffff, 2 ** 32 - 1, 2 ** 32 - 1, 0)
    return out + struct.pack("<IHHHHIIH", 0x06054b50, 0, 0, count, count, len(central), start, 0)


class Raw:
    """Pickle by hand."""
    @staticmethod
    def text(s):
        return b"X" + struct.pack("<I", len(s.encode())) + s.encode()

    @staticmethod
    def integer(v):
        return b"\x8a\x09" + v.to_bytes(9, "little", signed=True) if v >= 2 ** 63 else b"\x8a\x08" + struct.pack("<q", v)

    @staticmethod
    def ints(values):
        return b"(" + b"".join(Raw.integer(v) for v in values) + b"t"

    @staticmethod
    def tensor(key, count, shape, stride, offset=0, storage="FloatStorage"):
        return (b"ctorch._utils\n_rebuild_tensor_v2\n((" + Raw.text("storage") + b"ctorch\n" + storage.encode() + b"\n" +
                Raw.text(key) + Raw.text("cpu") + Raw.integer(count) + b"tQ" + Raw.integer(offset) + Raw.ints(shape) +
                Raw.ints(stride) + b"\x89ccollections\nOrderedDict\n)RtR")

    @staticmethod
    def dict(items):
        return b"}(" + b"".join(Raw.text(k) + v for k, v in items) + b"u"


def pth(pickled, members=None, prefix="p/", **options):
    members = [("data/0", floats(*range(8)))] if members is None else members
    return zip_bytes([(prefix + "data.pkl", pickled), (prefix + "byteorder", b"little")] +
                     [(prefix + n, d) for n, d in members] + [(prefix + "version", b"3\n")], **options)


def state(*items):
    return b"\x80\x02" + Raw.dict(items) + b"."


plain = state(("a", Raw.tensor("0", 8, [2, 4], [4, 1])), ("t", Raw.tensor("0", 8, [4, 2], [1, 4])))
put("plain.pth", pth(plain))
put("wide.pth", pth(plain, wide=True))
put("deflated.pth", pth(plain, deflated=("p/data.pkl", "p/data/0")))
put("no-prefix.pth", pth(plain, prefix=""))
put("wrapped.pth", pth(state(("epoch", b"K\x03"), ("optimizer", Raw.dict([("m", Raw.tensor("0", 8, [8], [1]))])),
                             ("state_dict", Raw.dict([("a", Raw.tensor("0", 8, [2, 4], [4, 1]))])))))
put("nested.pth", pth(state(("lm", Raw.dict([("a", Raw.tensor("0", 8, [8], [1]))])), ("vit", Raw.dict([("b", Raw.tensor("0", 8, [1], [1], 7))])))))

put("truncated.pth", pth(plain)[:-30])
put("cut-start.pth", pth(plain)[200:])
put("os-system.pth", pth(b"\x80\x02cos\nsystem\n" + Raw.text("echo owned") + b"\x85R."))
put("builtins-eval.pth", pth(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R."))
put("untyped.pth", pth(b"\x80\x02ctorch.storage\nUntypedStorage\n."))
put("unused-global.pth", pth(b"\x80\x02cposix\nsystem\n0}."))
put("expand.pth", pth(state(("big", Raw.tensor("0", 8, [2 ** 60], [0])))))
put("expand-int64.pth", pth(state(("big", Raw.tensor("0", 8, [2 ** 62, 2 ** 62], [0, 0])))))
put("claim.pth", pth(state(("big", Raw.tensor("0", 2 ** 60, [2 ** 60], [1])))))
put("beyond.pth", pth(state(("a", Raw.tensor("0", 8, [2, 4], [4, 1], 1)))))
put("stride-overflow.pth", pth(state(("a", Raw.tensor("0", 8, [3], [2 ** 62])))))
put("stride-negative.pth", pth(state(("a", Raw.tensor("0", 8, [3], [-1])))))
put("no-storage.pth", pth(state(("a", Raw.tensor("9", 8, [8], [1])))))
put("path-key.pth", pth(state(("a", Raw.tensor("../../../etc/passwd", 8, [8], [1])))))
put("axes.pth", pth(state(("six", Raw.tensor("0", 8, [1] * 6, [1] * 6)))))
put("twice.pth", pth(state(("a", Raw.tensor("0", 8, [8], [1])), ("a", Raw.tensor("0", 8, [8], [1])))))
put("member-twice.pth", pth(plain, [("data/0", floats(*range(8))), ("data/0", floats(*range(8)))]))
put("memo.pth", pth(b"\x80\x02}r\xff\xff\xff\x7f."))
put("memo-get.pth", pth(b"\x80\x02j\xff\xff\xff\x7f."))
put("cycle.pth", pth(b"\x80\x02}q\x00" + Raw.text("me") + b"h\x00s."))
deep = Raw.tensor("0", 8, [8], [1])
for i in range(20):
    deep = Raw.dict([("d", deep)])
put("deep.pth", pth(state(("a", deep))))
laughs = b"\x80\x02}q\x00"
for i in range(14):
    laughs += b"}(" + b"".join(Raw.text(str(j)) + b"h" + bytes([i]) for j in range(9)) + b"uq" + bytes([i + 1])
put("laughs.pth", pth(laughs + b"."))
put("no-stop.pth", pth(b"\x80\x02}"))
put("marks.pth", pth(b"\x80\x02u."))
put("list.pth", pth(b"\x80\x02]."))
put("protocol-0.pth", pth(b"(dp0\n."))
put("big-endian.pth", zip_bytes([("p/data.pkl", plain), ("p/byteorder", b"big"), ("p/data/0", floats(*range(8)))]))
put("no-pickle.pth", zip_bytes([("p/readme", b"hello")]))
put("bomb.pth", pth(plain, deflated=("p/data/0",), size_lies={"p/data/0": 2 ** 31}))
put("bomb-pickle.pth", pth(plain, deflated=("p/data.pkl",), size_lies={"p/data.pkl": 2 ** 31}))
put("crc.pth", pth(plain, deflated=("p/data.pkl",)).replace(struct.pack("<I", zlib.crc32(plain)), b"\1\2\3\4"))
put("bare.pth", pickle.dumps({"a": [1, 2]}, 2))
put("legacy.pth", pickle.dumps(0x1950a86a20f9469cfc6c, 2) + pickle.dumps(1001, 2) + b"}.")
put("tar.pth", b"storages".ljust(257, b"\0") + b"ustar  \0" + bytes(300))
put("text.pth", b"version https://git-lfs.github.com/spec/v1\n")

# ---- GGUF ----


def gs(s):
    s = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(s)) + s


def kv(key, code, raw):
    return gs(key) + struct.pack("<I", code) + raw


def gguf(metas, tensors, data, version=3, counts=None):
    """tensors: [(name, sizes innermost first, type, offset)]"""
    n_tensors, n_metas = counts or (len(tensors), len(metas))
    out = b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_metas) + b"".join(metas)
    for name, sizes, kind, offset in tensors:
        out += gs(name) + struct.pack("<I", len(sizes)) + b"".join(struct.pack("<Q", s) for s in sizes) + struct.pack("<IQ", kind, offset)
    return out + bytes(-len(out) % 32) + data if data is not None else out


def arr(code, n, raw):
    return struct.pack("<IQ", code, n) + raw


metas = [kv("u8", 0, b"\xff"), kv("i8", 1, b"\xff"), kv("u16", 2, b"\xfe\xff"), kv("i16", 3, b"\xfe\xff"),
         kv("u32", 4, b"\xff\xff\xff\xff"), kv("i32", 5, b"\xff\xff\xff\xff"), kv("f32", 6, floats(0.5)), kv("bool", 7, b"\1"),
         kv("string", 8, gs("caf\u00e9")), kv("u64", 10, struct.pack("<Q", 2 ** 63 - 1)), kv("i64", 11, struct.pack("<q", -2 ** 63)),
         kv("f64", 12, struct.pack("<d", 0.1)),
         kv("tokens", 9, arr(8, 3, gs("a") + gs(b"\xff\x00\xfe") + gs(""))), kv("ints", 9, arr(5, 3, struct.pack("<3i", -1, 0, 7))),
         kv("floats", 9, arr(6, 2, floats(1.5, -2))), kv("bools", 9, arr(7, 2, b"\0\1")), kv("bytes", 9, arr(0, 2, b"\0\xff")),
         kv("empty", 9, arr(8, 0, b""))]
tensors = [("w", [3, 2], 0, 0), ("q", [32, 1], 8, 32)]
data = floats(1, 2, 3, 4, 5, 6).ljust(32, b"\0") + bytes(range(34)).ljust(64, b"\0")
put("good.gguf", gguf(metas, tensors, data))
put("v2.gguf", gguf(metas, tensors, data, version=2))
put("v1.gguf", gguf(metas, tensors, data, version=1))
put("big-endian.gguf", b"GGUF" + struct.pack(">IQQ", 3, 0, 0))
put("truncated.gguf", gguf(metas, tensors, data)[:-40])
put("cut-meta.gguf", gguf(metas, tensors, data)[:150])
put("count-tensors.gguf", gguf([], [], b"", counts=(2 ** 60, 0)))
put("count-metas.gguf", gguf([], [], b"", counts=(0, 2 ** 60)))
put("key-long.gguf", gguf([struct.pack("<Q", 2 ** 60) + b"key"], [], bytes(64)))
put("string-long.gguf", gguf([kv("s", 8, struct.pack("<Q", 2 ** 60))], [], bytes(64)))
put("array-long.gguf", gguf([kv("list", 9, arr(8, 2 ** 60, b""))], [], bytes(64)))
put("array-nested.gguf", gguf([kv("list", 9, arr(9, 1, arr(8, 0, b"")))], [], bytes(64)))
put("type.gguf", gguf([kv("odd", 13, b"")], [], bytes(64)))
put("alignment.gguf", gguf([kv("general.alignment", 4, struct.pack("<I", 33))], [], bytes(64)))
put("axes.gguf", gguf([], [("six", [1] * 6, 0, 0)], bytes(32)))
put("claim.gguf", gguf([], [("big", [2 ** 60], 0, 0)], bytes(32)))
put("claim-overflow.gguf", gguf([], [("big", [2 ** 40, 2 ** 40], 0, 0)], bytes(32)))
put("axis-huge.gguf", gguf([], [("big", [2 ** 63], 0, 0)], bytes(32)))
put("offset.gguf", gguf([], [("far", [1], 0, 2 ** 60)], bytes(32)))
put("misaligned.gguf", gguf([], [("odd", [1], 0, 4)], bytes(32)))
put("block.gguf", gguf([], [("q", [31], 8, 0)], bytes(64)))
put("ggml-type.gguf", gguf([], [("q", [32], 99, 0)], bytes(64)))
put("ggml-name.gguf", gguf([], [("q", [256], 23, 0)], bytes(160)))
put("overlap.gguf", gguf([], [("a", [16], 0, 0), ("b", [16], 0, 32)], bytes(128)))
put("twice.gguf", gguf([], [("a", [1], 0, 0), ("a", [1], 0, 32)], bytes(64)))
put("meta-twice.gguf", gguf([kv("k", 7, b"\1"), kv("k", 7, b"\1")], [], bytes(64)))

# ---- rwkv.cpp's .bin ----

def bin_tensor(name, sizes, code, raw):
    """sizes: innermost first"""
    return struct.pack("<3I", len(sizes), len(name), code) + struct.pack("<%dI" % len(sizes), *sizes) + name + raw


def bin_file(*tensors, version=101, magic=0x67676D66):
    return struct.pack("<6I", magic, version, 3, 2, 1, 0) + b"".join(tensors)


half = struct.pack("<e", 0.5)
good_bin = bin_file(bin_tensor(b"emb.weight", [2, 3], 0, floats(1, 2, 3, 4, 5, 6)), bin_tensor(b"half", [2, 1, 2], 1, half * 4),
                    bin_tensor(b"q5_1", [32, 2], 8, (half + half + bytes(4) + bytes(16)) * 2),
                    bin_tensor(b"q8_0", [32], 9, half + bytes(range(32))))
put("good.bin", good_bin)
put("old.bin", bin_file(bin_tensor(b"a", [1], 0, floats(7)), version=100))
put("truncated.bin", good_bin[:-1])
put("cut-head.bin", good_bin[:24 + 8])
put("cut-name.bin", good_bin[:24 + 12 + 8 + 3])
put("short.bin", good_bin[:23])
put("magic.bin", bin_file(magic=0x67676D6C))
put("version.bin", bin_file(version=102))
put("old-blocks.bin", bin_file(bin_tensor(b"q", [32], 2, bytes(20)), version=100))
put("type.bin", bin_file(bin_tensor(b"q", [32], 4, bytes(20))))
put("axes.bin", bin_file(bin_tensor(b"four", [1, 1, 1, 1], 0, floats(1))))
put("no-axes.bin", bin_file(bin_tensor(b"none", [], 0, floats(1))))
put("block.bin", bin_file(bin_tensor(b"q", [31], 9, bytes(34))))
put("claim.bin", bin_file(bin_tensor(b"big", [0xFFFFFFFF, 0xFFFFFFFF], 0, floats(1))))
put("claim-overflow.bin", bin_file(bin_tensor(b"big", [0xFFFFFFFF] * 3, 0, floats(1))))
put("name-long.bin", bin_file(struct.pack("<3I", 1, 0xFFFFFFFF, 0) + struct.pack("<I", 1) + b"a"))
put("name-none.bin", bin_file(bin_tensor(b"", [1], 0, floats(1))))
put("twice.bin", bin_file(bin_tensor(b"a", [1], 0, floats(1)), bin_tensor(b"a", [1], 0, floats(2))))

# ---- what PyTorch writes ----

try:
    import torch
except ImportError:
    sys.exit("no torch: views.pth stays as it is")

base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
half = torch.arange(12, dtype=torch.float16).reshape(3, 4) / 8
model = collections.OrderedDict(
    base=base, transposed=base.transpose(0, 2), permuted=base.permute(1, 2, 0), row=base[1, 2], column=base[:, 1, 2],
    stepped=base[:, ::2, 1:4:2], expanded=base[0, 0].expand(3, 4), outer=base[0, :1, :].t().expand(4, 5), scalar=base[1, 1, 1],
    empty=base[:0], half_t=half.t(), bf16=(half * 3).to(torch.bfloat16)[1:, 1:], f64=half.double().t(), i64=torch.arange(-3, 3),
    i32=torch.arange(-3, 3, dtype=torch.int32).reshape(2, 3).t(), i16=torch.arange(5, dtype=torch.int16)[1:],
    i8=torch.arange(-2, 4, dtype=torch.int8).reshape(2, 3).t(), u8=torch.arange(250, 256, dtype=torch.uint8),
    flag=torch.tensor([True, False, True]), parameter=torch.nn.Parameter(base[0].t()), five=base.reshape(1, 2, 1, 3, 4).transpose(1, 4))
model._metadata = {"": {"version": 1}}
torch.save({"state_dict": model, "epoch": 3, "lr": 0.5, "note": ["x", None, (1, 2, 3, 4)], "big": 2 ** 100}, os.path.join(here, "views.pth"))
names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64", torch.int32: "I32",
         torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}
expected = []
for name, t in model.items():
    flat = t.detach().contiguous()
    raw = flat.view(torch.int16).numpy().tobytes() if t.dtype == torch.bfloat16 else flat.numpy().tobytes()
    expected.append((name, names[t.dtype], list(t.shape), raw))
put("views.safetensors", safetensors(expected))
