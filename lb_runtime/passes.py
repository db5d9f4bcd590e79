"""Why a launch of a program went to the user's device as it was: codes beside those of the analysis.

The analysis says what is in a kernel (`lb_runtime.analysis.reasons`); these codes say what was the matter
with one launch, or with the machine. Codes are printed by reports and may be relied on; texts may change.
"""

from __future__ import annotations

from lb_runtime.analysis.reasons import REASONS

PASSES: dict[str, str] = {
    "arguments-unknown": "an argument was never set where lb-runtime could see it; install it before the "
    "program sets its kernels' arguments",
    "buffer-gone": "the program let go of the buffer that a sub-buffer is a part of, and the driver forgets "
    "it then; keep the buffer as long as its parts",
    "build-failed": "the other device's compiler refused the program; the detail says why, and the kernel "
    "stays on the user's device",
    "busy": "the devices had as much split work in flight as is kept; wait for results now and then, or "
    "launch larger ranges",
    "device-not-in-pair": "the program's queue is on a device that is not of the pair; name the program's "
    "device with --cpu or --gpu (LB_CPU, LB_GPU)",
    "empty-range": "a range without work-items runs nothing; there is nothing to do",
    "fault": "something failed on the way, and the launch ran on the user's device; the report's faults "
    "name the cause",
    "first-launches": "the first launches run as they are while the kernel is compiled for the other "
    "device and judged; launch it more often",
    "host-access": "a buffer was made so that the host may not read or write it, and bytes travel through "
    "the host; make it without HOST_NO_ACCESS, HOST_READ_ONLY and HOST_WRITE_ONLY",
    "image-argument": "images stay on the user's device; put the data into a buffer to have it split",
    "invalid-launch": "OpenCL refuses the launch, or is sure to leave a buffer with it; the detail says why",
    "local-size": "the driver chooses the local size, and the kernel can tell which; give one to have the "
    "launch split",
    "mirror-lost": "the other device failed or stopped answering, and is left alone from then on; look at "
    "the report's faults, then restart the program",
    "no-gain": "measured or predicted, both devices together are not faster than the user's; LB_SHARE "
    "asks for a split all the same",
    "no-mirror": "there is no second device to take a part; `lb devices` shows what is there and what to "
    "install",
    "no-source": "the program was made from a binary, from IL or by linking, so there is no source to "
    "analyse; build it from source",
    "null-argument": "an argument is a null pointer, so it is not known what the kernel touches; give a "
    "buffer",
    "observing": "launches are judged and counted, none is split; set LB_RUNTIME=on to split them",
    "out-of-order-queue": "launches of out-of-order queues stay as they are; use an in-order queue",
    "svm": "shared virtual memory is read and written by the host unseen; use buffers to have it split",
    "timing": "now and then a launch runs on the user's device alone, to be timed; there is nothing to do",
    "too-large": "copies of the launch's buffers would take too much of the memory that is free; use smaller "
    "ones, or free others",
    "too-small": "the launch takes less time than moving its bytes would; use larger ranges",
    "too-varied": "the kernel is launched in more ways (sizes, numbers) than are judged; launch it in fewer",
}


def advice(code: str) -> str:
    """What a code means and what can be done, in one line; of either catalogue.

    Raises:
        ValueError: a code of neither.
    """
    text = PASSES.get(code) or REASONS.get(code)
    if text is None:
        raise ValueError(
            f"code {code!r} given, expected one of {', '.join(sorted({*PASSES, *REASONS}))}"
        )
    return text
