"""What onnxruntime-gpu needs of a box, as data, with the source of each number.

It is not aware of any box. Used by `fit` and `libraries`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TENSORRT: Final = "TensorrtExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
CPU: Final = "CPUExecutionProvider"

#: The version of CUDA that onnxruntime-gpu's wheels are built with; any 12.x will do on the box.
#: Source: `cuda_version` in the wheel of 1.24.4, and "minor version compatibility" in ONNX
#: Runtime's page on the CUDA execution provider.
CUDA_MAJOR: Final = 12
#: The oldest driver for Linux on which programs built with CUDA 12 run.
#: Source: CUDA Toolkit release notes, "CUDA Toolkit and Minimum Required Driver Version for CUDA
#: Minor Version Compatibility".
MINIMUM_DRIVER: Final = (525, 60, 13)
#: The oldest card that kernels were compiled for; newer ones than 9.0 take its PTX.
#: Source: the device code in `libonnxruntime_providers_cuda.so` of the wheel of 1.24.4, read out:
#: sm_60, 70, 75, 80, 86, 90 and PTX for compute_90.
MINIMUM_CAPABILITY: Final = (6, 0)
#: What a process takes of a card's memory before the model: the CUDA context, cuBLAS's and cuDNN's
#: handles and workspaces. An estimate on the high side; it has not been measured by us.
CONTEXT_BYTES: Final = 600 * 2**20
#: Weights are held once; the rest is room for activations and the arena's growth by doubling.
WEIGHT_COPIES: Final = 2


@dataclass(frozen=True, slots=True)
class Library:
    """A shared library that the runtime loads.

    Attributes:
        soname: Its exact name; another number in it is another, incompatible version.
        title: What people call it.
        wheel: NVIDIA's wheel that has it, or None.
        folder: Where in that wheel.
    """

    soname: str
    title: str
    wheel: str | None = None
    folder: str | None = None

    @property
    def stem(self) -> str:
        """The name without the version, such as `libcudnn.so`."""
        return self.soname.partition(".so")[0] + ".so"


#: In the order in which they can be loaded one after the other.
#: Source: the NEEDED entries of `libonnxruntime_providers_cuda.so` of the wheel of 1.24.4, and
#: `preload_dlls` in its `__init__.py`.
CUDA_LIBRARIES: Final = (
    Library("libcudart.so.12", "the CUDA runtime", "nvidia-cuda-runtime-cu12", "cuda_runtime"),
    Library("libcublasLt.so.12", "cuBLASLt", "nvidia-cublas-cu12", "cublas"),
    Library("libcublas.so.12", "cuBLAS", "nvidia-cublas-cu12", "cublas"),
    Library("libcurand.so.10", "cuRAND", "nvidia-curand-cu12", "curand"),
    Library("libcufft.so.11", "cuFFT", "nvidia-cufft-cu12", "cufft"),
    Library("libcudnn.so.9", "cuDNN 9", "nvidia-cudnn-cu12", "cudnn"),
)
#: Beside the above, where TensorRT is asked for.
#: Source: the NEEDED entries of `libonnxruntime_providers_tensorrt.so` of the wheel of 1.24.4; it
#: is built with TensorRT 10.
TENSORRT_LIBRARIES: Final = (
    Library("libnvinfer.so.10", "TensorRT 10"),
    Library("libnvonnxparser.so.10", "TensorRT 10's ONNX parser"),
)
#: What the others load themselves: of use where found, no obstacle where not.
HELPERS: Final = (
    Library("libnvrtc.so.12", "NVRTC", "nvidia-cuda-nvrtc-cu12", "cuda_nvrtc"),
    Library("libnvJitLink.so.12", "nvJitLink", "nvidia-nvjitlink-cu12", "nvjitlink"),
)


def libraries_of(provider: str) -> tuple[Library, ...]:
    """Returns the libraries that a provider cannot do without; none for the CPU's."""
    if provider == TENSORRT:
        return (*CUDA_LIBRARIES, *TENSORRT_LIBRARIES)
    return CUDA_LIBRARIES if provider == CUDA else ()


def memory_needed(model_bytes: int) -> int:
    """Returns about how many bytes of a card's memory a model of a size takes."""
    return CONTEXT_BYTES + WEIGHT_COPIES * model_bytes
