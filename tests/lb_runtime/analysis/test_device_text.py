"""Sources whose text depends on the compiler that reads it are found out."""

from __future__ import annotations

import pytest

from lb_runtime.analysis.device_text import device_dependent_name

KERNEL = "kernel void k(global int *x) { x[get_global_id(0)] = D; }"


def choice(condition: str) -> str:
    return f"{condition}\n#define D 1\n#else\n#define D 0\n#endif\n{KERNEL}"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (choice("#ifdef __POCL__"), "__POCL__"),
        (choice("#if __OPENCL_VERSION__ >= 200"), "__OPENCL_VERSION__"),
        (choice("#if defined(cl_khr_fp64) && 1"), "cl_khr_fp64"),
        (choice("  #  ifndef __NV_CL_C_VERSION"), "__NV_CL_C_VERSION"),
        (choice("%:ifdef __POCL__"), "__POCL__"),
        (choice("/* why */ #ifdef __POCL__"), "__POCL__"),
        (choice("#if \\\n  __CPU__"), "__CPU__"),
        (choice("#if \\\r\n  __CPU__"), "__CPU__"),
        (choice("#ifdef linux"), "linux"),
        (choice("#if FOO\n#elif defined(__GPU__)"), "__GPU__"),
        (choice("#define HAS defined(cl_khr_fp64)\n#if HAS"), "cl_khr_fp64"),
        (choice("#if 0\n#define __POCL__\n#endif\n#ifdef __POCL__"), "__POCL__"),
        (KERNEL.replace("D", "cl_khr_int64_base_atomics"), "cl_khr_int64_base_atomics"),
        (KERNEL.replace("D", "__IMAGE_SUPPORT__"), "__IMAGE_SUPPORT__"),
        ("#ifdef cl_khr_fp64\n#include <other.h>\n#endif\n" + KERNEL, "cl_khr_fp64"),
        ("#ifdef cl_khr_fp64\nkernel void more(global double *x) {}\n#endif", "cl_khr_fp64"),
    ],
)
def test_a_source_that_asks_for_the_device_is_named(source: str, name: str) -> None:
    assert device_dependent_name(source) == name


@pytest.mark.parametrize(
    "source",
    [
        KERNEL,
        "#ifdef cl_khr_fp64\n#pragma OPENCL EXTENSION cl_khr_fp64 : enable\n#endif\n" + KERNEL,
        "#ifndef cl_khr_fp64\n#error doubles are needed\n#endif\n" + KERNEL,
        choice("#ifdef FAST_PATH"),
        "#ifndef TILE\n#define TILE 16\n#endif\n" + KERNEL,
        "#define __MINE__ 3\n" + choice("#if __MINE__ > 2"),
        "// #ifdef __POCL__\n/* #ifdef __POCL__ */\n" + KERNEL,
        KERNEL.replace("D", "__LINE__"),
        "void f(cl_mem_fence_flags flags);\n" + KERNEL,
    ],
)
def test_a_source_that_is_the_same_everywhere_is_let_through(source: str) -> None:
    assert device_dependent_name(source) == ""


@pytest.mark.parametrize("options", [("-D__MINE__=1",), ("-D", "__MINE__")])
def test_what_the_build_options_define_is_no_question_to_the_device(
    options: tuple[str, ...],
) -> None:
    assert device_dependent_name(choice("#ifdef __MINE__"), options) == ""
    assert device_dependent_name(choice("#ifdef __MINE__")) == "__MINE__"
