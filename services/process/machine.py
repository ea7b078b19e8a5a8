"""What a service needs of the machine beside its packages: libraries, driver, device, compiler.

Checked before anything is loaded, so that what is missing is one line, not the end of a long start.
Imports no torch: the supervisor of a service checks too, and stays small.
"""

import ctypes
import importlib.util
import os
import runpy
import shutil
from dataclasses import dataclass
from pathlib import Path

from align2llava.services.settings import Settings, SettingsError

_CUDA_LIBRARY = "libcuda.so.1"  # comes with the driver
_CPU_LIBRARY = (
    "libnuma.so.1"  # what vLLM's CPU kernels link beside torch and libc (ldd vllm/_C*.so)
)
_COMPILERS = ("gcc", "clang")  # triton/runtime/build.py: $CC, else these


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaDriver:
    """The NVIDIA driver that is installed here."""

    version: tuple[int, int]  # of CUDA, major and minor, that it supports
    num_devices: int  # that this process may see


def refuse_machine(settings: Settings) -> None:
    """Refuses settings for which this machine lacks something.

    Raises:
        SettingsError: says what, on one line.
    """
    if settings.engine == "fake":
        return
    torch_cuda = _torch_cuda()
    if settings.device != "cpu":
        fault = gpu_fault(settings.device, torch_cuda=torch_cuda, driver=_cuda_driver())
    elif settings.engine == "vllm" and torch_cuda is None:
        fault = library_fault(_CPU_LIBRARY)
    else:
        fault = None
    if fault is None and settings.engine == "vllm" and settings.device != "cpu":
        fault = compiler_fault(os.environ.get("CC", ""))
    if fault is not None:
        raise SettingsError(fault)


def gpu_fault(device: str, *, torch_cuda: str | None, driver: CudaDriver | None) -> str | None:
    """Returns what keeps this device from being used, None where nothing does.

    `torch_cuda` is the CUDA version torch was built for, None for a CPU build. A driver serves every
    release of its own major version of CUDA, and older ones.
    """
    if torch_cuda is None:
        return f"A2L_DEVICE is {device!r}, but the torch that is installed here is a CPU build"
    if driver is None:
        return f"A2L_DEVICE is {device!r}, but there is no NVIDIA driver here ({_CUDA_LIBRARY})"
    if driver.version[0] < int(torch_cuda.split(".", 1)[0]):
        major, minor = driver.version
        return (
            f"torch is built for CUDA {torch_cuda}, and the NVIDIA driver here supports only "
            f"CUDA {major}.{minor}: update the driver"
        )
    index = int(device.partition(":")[2] or 0)
    if index >= driver.num_devices:
        return f"A2L_DEVICE is {device!r}, but {driver.num_devices} GPUs can be seen here"
    return None


def library_fault(name: str) -> str | None:
    """Returns what to do where the shared library cannot be loaded, None where it can."""
    try:
        ctypes.CDLL(name)
    except OSError as error:
        return (
            f"vLLM needs the library {name}: {error} (Debian and Ubuntu: apt-get install libnuma1)"
        )
    return None


def compiler_fault(stated: str) -> str | None:
    """Returns what to do where there is no C compiler, with which vLLM builds its GPU kernels' launchers.

    `stated` is the variable CC; empty where it is not set.
    """
    wanted = (stated,) if stated else _COMPILERS
    if any(shutil.which(name) for name in wanted):
        return None
    return (
        f"vLLM on a GPU needs a C compiler ({' or '.join(wanted)}): install one, or name it in CC"
    )


def _torch_cuda() -> str | None:
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise SettingsError("torch is not installed here")
    version: str | None = runpy.run_path(str(Path(spec.origin).with_name("version.py")))["cuda"]
    return version


def _cuda_driver() -> CudaDriver | None:
    try:
        library = ctypes.CDLL(_CUDA_LIBRARY)
    except OSError:
        return None
    number, count = ctypes.c_int(), ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(number))
    if library.cuInit(0) == 0:  # else there is a driver and no device for us
        library.cuDeviceGetCount(ctypes.byref(count))
    major, minor = divmod(number.value, 1000)
    return CudaDriver(version=(major, minor // 10), num_devices=count.value)
