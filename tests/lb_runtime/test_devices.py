"""Roles are chosen by rule or by the user; what there is, is found and opened."""

from __future__ import annotations

import gc
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyopencl as cl
import pytest
from splitting import Written, plan_of, run_and_verify

from lb_runtime import icd
from lb_runtime.analysis.verdict import Merge
from lb_runtime.contexts import OpenDevice, OpenPair, first_build_error, open_devices
from lb_runtime.devices import DeviceInfo, DeviceKind, discover
from lb_runtime.errors import DeviceError
from lb_runtime.icd import carried_entries, make_drivers_visible
from lb_runtime.launch import NDRange
from lb_runtime.own_contexts import OWN_CONTEXTS
from lb_runtime.roles import Cut, choose_pair, requested


def device(
    index: int,
    platform: str,
    name: str,
    kind: DeviceKind = DeviceKind.CPU,
    units: int = 8,
    unified: bool = False,
) -> DeviceInfo:
    return DeviceInfo(
        index=index,
        platform_name=platform,
        platform_version="OpenCL 3.0",
        name=name,
        kind=kind,
        compute_units=units,
        clock_mhz=1000,
        global_memory_bytes=1 << 33,
        local_memory_bytes=1 << 16,
        max_group_items=1024,
        address_bits=64,
        unified_memory=unified,
        driver_version="1",
        opencl_c_version="OpenCL C 1.2",
        extensions=(),
        partitions=("equally", "by counts") if kind is DeviceKind.CPU else (),
    )


POCL = device(0, "Portable Computing Language", "pthread-AMD EPYC")
INTEL = device(1, "Intel(R) OpenCL", "AMD EPYC")
NVIDIA = device(2, "NVIDIA CUDA", "NVIDIA H200", DeviceKind.GPU, 132)
SMALL_GPU = device(3, "Intel(R) OpenCL Graphics", "UHD 770", DeviceKind.GPU, 512, unified=True)
EMULATOR = device(4, "Intel(R) FPGA Emulation Platform", "FPGA emulator", DeviceKind.ACCELERATOR)


def test_a_real_gpu_goes_with_a_cpu() -> None:
    pair = choose_pair([POCL, INTEL, NVIDIA])
    assert (pair.cpu, pair.gpu, pair.cut) == (INTEL, NVIDIA, Cut.NONE)
    assert "real GPU" in pair.why
    assert pair.gain_possible


def test_a_gpu_with_memory_of_its_own_goes_first() -> None:
    assert choose_pair([POCL, SMALL_GPU, NVIDIA]).gpu == NVIDIA


def test_an_emulated_accelerator_is_no_gpu() -> None:
    pair = choose_pair([INTEL, POCL, EMULATOR])
    assert (pair.cpu, pair.gpu) == (POCL, INTEL)


@pytest.mark.parametrize("devices", [[POCL, INTEL], [INTEL, POCL]])
def test_of_two_cpu_platforms_pocl_plays_cpu(devices: list[DeviceInfo]) -> None:
    pair = choose_pair(devices)
    assert (pair.cpu, pair.gpu, pair.cut) == (POCL, INTEL, Cut.NONE)
    assert "PoCL plays CPU" in pair.why


@pytest.mark.parametrize(
    ("units", "partitions", "cut"),
    [
        (8, ("equally", "by counts"), Cut.EQUALLY),
        (3, ("equally", "by counts"), Cut.BY_COUNTS),
        (3, ("equally",), Cut.QUEUES),
        (1, (), Cut.QUEUES),
    ],
)
def test_a_single_device_is_cut_in_two(units: int, partitions: tuple[str, ...], cut: Cut) -> None:
    only = replace(POCL, compute_units=units, partitions=partitions)
    pair = choose_pair([only])
    assert (pair.cpu, pair.gpu, pair.cut) == (only, only, cut)
    assert "no gain is to be had" in pair.why
    assert not pair.gain_possible


def test_two_accelerators_without_a_cpu_make_a_pair() -> None:
    pair = choose_pair([SMALL_GPU, NVIDIA])
    assert (pair.cpu, pair.gpu) == (SMALL_GPU, NVIDIA)


@pytest.mark.parametrize(
    ("cpu", "gpu", "indices"),
    [
        ("1", None, (1, 2)),
        ("INTEL(R) opencl", None, (1, 2)),
        (None, "portable", (1, 0)),
        (None, "nvidia", (1, 2)),
        ("pthread", "intel(r) opencl", (0, 1)),
        ("h200", "0", (2, 0)),
    ],
)
def test_a_selector_is_an_index_or_part_of_a_name(
    cpu: str | None, gpu: str | None, indices: tuple[int, int]
) -> None:
    pair = choose_pair([POCL, INTEL, NVIDIA], cpu, gpu)
    assert (pair.cpu.index, pair.gpu.index) == indices


def test_one_device_asked_for_twice_is_cut_in_two() -> None:
    pair = choose_pair([POCL, INTEL], "0", "portable")
    assert (pair.cpu, pair.gpu, pair.cut) == (POCL, POCL, Cut.EQUALLY)


@pytest.mark.parametrize("selector", ["7", "radeon", "amd epyc x", " "])
def test_a_selector_that_fits_nothing_lists_what_there_is(selector: str) -> None:
    with pytest.raises(DeviceError, match="as the GPU matches no device") as raised:
        choose_pair([POCL, INTEL], gpu=selector)
    assert POCL.label in str(raised.value)
    assert INTEL.label in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_ambiguous_selector_is_refused() -> None:
    with pytest.raises(DeviceError, match="matches 2 devices"):
        choose_pair([POCL, INTEL], cpu="epyc")


def test_an_unusable_device_is_not_chosen() -> None:
    broken = replace(NVIDIA, unusable_because="its driver has no OpenCL C compiler")
    assert choose_pair([POCL, INTEL, broken]).gpu == INTEL
    with pytest.raises(DeviceError, match="no OpenCL C compiler"):
        choose_pair([POCL, INTEL, broken], gpu="nvidia")
    with pytest.raises(DeviceError, match="none of these devices"):
        choose_pair([broken])


def test_no_device_at_all_says_what_to_install() -> None:
    with pytest.raises(DeviceError, match=r'pip install "pyopencl\[pocl\]"'):
        choose_pair([])


def test_selectors_come_from_options_before_the_environment() -> None:
    environment = {"LB_CPU": "pocl", "LB_GPU": "nvidia"}
    assert requested("intel", None, environment) == ("intel", "nvidia")
    assert requested(None, None, {"LB_CPU": ""}) == (None, None)


def platforms_missing() -> list[cl.Platform]:
    raise cl.LogicError("clGetPlatformIDs failed: PLATFORM_NOT_FOUND_KHR")


@pytest.mark.parametrize("answer", [platforms_missing, list])
def test_a_machine_without_platforms_says_what_to_install(
    answer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cl, "get_platforms", answer)
    with pytest.raises(DeviceError, match=r'pip install "pyopencl\[pocl\]"'):
        discover()


def test_discovery_describes_every_device() -> None:
    found = discover()
    assert [device.index for device in found.devices] == list(range(len(found.devices)))
    assert any(device.is_pocl for device in found.devices)
    assert all(device.compute_units > 0 for device in found.devices)


def test_importing_asks_no_driver() -> None:
    code = "import sys, lb_runtime, lb_runtime.roles; sys.exit('pyopencl' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("cut", [Cut.EQUALLY, Cut.BY_COUNTS, Cut.QUEUES])
@pytest.mark.parametrize("platform", ["Portable Computing Language", "Intel(R) OpenCL"])
def test_one_device_cut_in_two_runs_both_parts(cut: Cut, platform: str) -> None:
    whole = next((d for d in discover().devices if d.platform_name == platform), None)
    if whole is None:
        pytest.skip(f"platform {platform} is not installed")
    pair = choose_pair([whole])
    opened = open_devices(replace(pair, cut=cut))
    if whole.compute_units >= 2:
        assert opened.notes == ()
    assert_splits_right(opened)


def test_both_roles_are_open_and_can_run(pair: OpenPair) -> None:
    assert pair.devices[0].label != pair.devices[1].label
    assert_splits_right(pair)


def assert_splits_right(opened: OpenPair) -> None:
    source = "kernel void k(global int* x) { x[get_global_id(0)] = get_group_id(0); }"
    values = [np.zeros(64, np.int32)]
    plan = plan_of(
        source, "k", NDRange.of((64,), (8,)), values, written={0: Written(Merge.RANGE, 32)}
    )
    assert run_and_verify(opened, plan, values, source)[1].ok


def test_a_program_is_built_once(pair: OpenPair) -> None:
    source = "kernel void k(global int* x) { x[0] = A; }"
    for opened in pair.devices:
        first = opened.program(source, ("-DA=1",))
        assert opened.program(source, ("-DA=1",)) is first
        assert opened.program(source, ("-DA=2",)) is not first


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("Compilation started\n1:2:10: error: no\n", "k.cl:2:10: error: no"),
        ("error: /root/.cache/pocl/kcache/tempfile_2C.cl:2:10: no\n", "k.cl:2:10: error: no"),
        ("<kernel>:4:1: fatal error: no\n", "k.cl:4:1: error: no"),
        ("/comgr-1/input/CompileSource:4:1: error: no\n", "k.cl:4:1: error: no"),
        ("1:1:1: warning: w\nsub/mine.h:7:8: error: no\n", "sub/mine.h:7:8: error: no"),
        (
            "Compilation failed\nUnrecognized build options: -bogus\n",
            "Unrecognized build options: -bogus",
        ),
        ("", ""),
    ],
)
def test_the_first_build_error_is_one_line_of_the_users_file(log: str, message: str) -> None:
    assert first_build_error(log, "k.cl") == message


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "lib" / "libintelocl.so"
    path.parent.mkdir()
    path.touch()
    monkeypatch.setattr(icd, "intel_library", lambda: path)
    monkeypatch.setattr(icd, "_dependency_notes", lambda: ())
    return path


def test_intels_driver_is_made_visible_by_its_absolute_path(library: Path, tmp_path: Path) -> None:
    variables: dict[str, str] = {}
    setup = make_drivers_visible(variables, tmp_path / "cache")
    folder = Path(variables["OCL_ICD_VENDORS"])
    assert setup.vendors_folder == folder
    assert (folder / "intel.icd").read_text() == f"{library}\n"
    assert setup.adds_intel
    again = make_drivers_visible(variables, tmp_path / "cache")
    assert (again.vendors_folder, again.notes) == (setup.vendors_folder, setup.notes)
    # The environment names it by now: it would be found without us.
    assert not again.adds_intel
    assert sorted(path.suffix for path in folder.iterdir() if path.name == "intel.icd") == [".icd"]


@pytest.mark.parametrize("variable", ["OCL_ICD_VENDORS", "OPENCL_VENDOR_PATH"])
def test_a_vendors_folder_of_the_user_is_left_alone(
    variable: str, library: Path, tmp_path: Path
) -> None:
    variables = {variable: "/mine"}
    setup = make_drivers_visible(variables, tmp_path)
    assert variables == {variable: "/mine"}
    assert setup.vendors_folder is None
    assert variable in setup.notes[0]


def test_a_cache_that_cannot_be_written_is_a_note(library: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    variables: dict[str, str] = {}
    setup = make_drivers_visible(variables, tmp_path / "file")
    assert not variables
    assert "cannot be written" in setup.notes[0]


def test_without_intels_driver_nothing_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(icd, "intel_library", lambda: None)
    variables: dict[str, str] = {}
    assert make_drivers_visible(variables, tmp_path).notes == ()
    assert not variables


def test_a_driver_without_its_undeclared_dependency_is_a_note(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(icd, "intel_library", lambda: library)
    monkeypatch.setattr(icd, "INTEL_DRIVER_NEEDS", "a-package-that-nobody-has")
    notes = make_drivers_visible({}, tmp_path / "cache").notes
    assert "pip install a-package-that-nobody-has" in notes[0]


def test_usable_entries_of_the_systems_folder_are_carried_over(tmp_path: Path) -> None:
    driver = tmp_path / "libdriver.so"
    driver.touch()
    for name, text in {
        "nvidia": "libnvidia-opencl.so.1\n",
        "absolute": f"{driver}\n",
        "gone": "/nowhere/libgone.so\n",
        "intel": "/opt/intel/libintelocl.so\n",
        "twice": "libnvidia-opencl.so.1\n",
        "empty": "",
    }.items():
        (tmp_path / f"{name}.icd").write_text(text)
    carried = carried_entries([tmp_path, tmp_path / "missing"])
    assert sorted(carried.values()) == sorted([str(driver), "libnvidia-opencl.so.1"])


def test_the_number_of_a_context_that_is_gone_is_nobodys(pair: OpenPair) -> None:
    """The driver may give it to a context of the program's, whose launches would then all pass unseen."""
    device = OpenDevice(pair.devices[0].info, pair.devices[0].handle)
    number = device.context.int_ptr
    assert number in OWN_CONTEXTS
    del device
    gc.collect()
    assert number not in OWN_CONTEXTS
