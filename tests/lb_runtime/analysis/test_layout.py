"""Sizes and offsets of LLVM types are those that a device's own compiler uses."""

from __future__ import annotations

import numpy as np
import pyopencl as cl
import pytest

from lb_runtime.analysis import layout
from lb_runtime.contexts import OpenPair
from predictor.frontend import compile_source

PACKED = "__attribute__((packed))"
STRUCTS = {
    "mixed": "struct S { char a; int b; short c[3]; double d; };",
    "packed": f"struct {PACKED} S {{ char a; int b; short c[3]; long d; }};",
    "vectors": "struct S { char3 a; float3 b; uchar2 c; double4 d; char e; };",
    "nested": "struct T { float3 p; char q; }; struct S { char a; struct T b[2]; short c; };",
    "packed inside": f"struct {PACKED} T {{ char p; int q; }}; struct S {{ struct T a[3]; long b; }};",
    "aligned": "struct __attribute__((aligned(32))) S { char a; int b; };",
    "aligned member": "struct S { char a; int b __attribute__((aligned(16))); char c; };",
    "tail": "struct S { long a; char b; };",
    "large vectors": "struct S { char a; float16 b; short8 c; char d; };",
}


@pytest.mark.parametrize("name", STRUCTS)
def test_a_struct_has_the_size_that_the_device_gives_it(pair: OpenPair, name: str) -> None:
    source = STRUCTS[name] + (
        "kernel void k(global struct S *s, global ulong *size) {"
        "  size[0] = sizeof(struct S);"
        "  size[1] = (ulong)(s + 1) - (ulong)s; s[3] = s[get_global_id(0)]; }"
    )
    module = compile_source(source)
    text = next(key for key in module.structs if key.startswith("%struct.S"))
    measured = numbers(pair, source, 2)
    assert layout.size_bytes(text, module.structs) == measured[0] == measured[1]


@pytest.mark.parametrize("name", STRUCTS)
def test_members_lie_where_the_device_puts_them(pair: OpenPair, name: str) -> None:
    definition = STRUCTS[name]
    module = compile_source(definition + "kernel void k(global struct S *s) { s[3] = s[1]; }")
    text = next(key for key in module.structs if key.startswith("%struct.S"))
    body = definition[definition.rfind("{") :]
    members = [m for m in "abcde" if any(f" {m}{end}" in body for end in (";", "[", " "))]
    lines = "".join(
        f"at[{number}] = (ulong)&s->{member} - (ulong)s;" for number, member in enumerate(members)
    )
    source = f"{definition} kernel void k(global struct S *s, global ulong *at) {{ {lines} }}"
    measured = numbers(pair, source, len(members))
    ours = []
    for index in range(16):
        try:
            ours.append(layout.member(text, index, module.structs)[1])
        except layout.UnknownLayoutError:
            break
    # Padding that clang makes explicit is a member of its own.
    assert set(measured) <= set(ours)


@pytest.mark.parametrize(
    ("type_text", "size"),
    [
        ("i1", 1), ("i8", 1), ("i24", 4), ("i64", 8), ("half", 2), ("double", 8),
        ("<2 x i8>", 2), ("<3 x float>", 16), ("<3 x i8>", 4), ("<16 x double>", 128),
        ("[5 x i32]", 20), ("[2 x [3 x i16]]", 12), ("ptr addrspace(1)", 8),
        ("{ i8, i32 }", 8), ("<{ i8, i32 }>", 5), ("{}", 0),
    ],
)  # fmt: skip
def test_llvm_types_have_the_sizes_of_the_data_layout(type_text: str, size: int) -> None:
    assert layout.size_bytes(type_text, {}) == size


def test_a_type_without_a_fixed_size_is_refused() -> None:
    for text in ("%opaque", 'target("spirv.Event")', "void"):
        with pytest.raises(layout.UnknownLayoutError):
            layout.size_bytes(text, {})


def numbers(pair: OpenPair, source: str, count: int) -> list[int]:
    """What one work-item of a kernel writes into its second argument."""
    device = pair.devices[0]
    kernel = device.kernel(source, (), "k")
    flags = cl.mem_flags.READ_WRITE
    structs = cl.Buffer(device.context, flags, 4096)
    found = np.zeros(count, np.uint64)
    result = cl.Buffer(device.context, flags | cl.mem_flags.COPY_HOST_PTR, hostbuf=found)
    kernel.set_args(structs, result)
    cl.enqueue_nd_range_kernel(device.queue, kernel, (1,), (1,))
    cl.enqueue_copy(device.queue, found, result)
    return [int(number) for number in found]
