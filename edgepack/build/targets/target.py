"""What a target is: one kind of box, as frozen data.

It is not aware of files or of how a target is written down. Used by every step of a build.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from edgepack.build.artifacts import NO_NEEDS, Needs
from edgepack.formats.canonical import canonical_json, sha256_hex
from edgepack.formats.errors import ConfigError, did_you_mean
from edgepack.formats.manifest import TargetInfo
from edgepack.formats.variants import Format, RuntimeName, VariantSpec

Arch = Literal["x86_64", "aarch64"]
VerifyMode = Literal["native", "emulated"]

#: What the runner itself imports beside numpy and one runtime. The same distributions as the
#: `runner` extra of pyproject.toml; a test holds the two together.
RUNNER_REQUIREMENTS: Final = ("httptools>=0.6", "prometheus-client>=0.20", "psutil>=5.9")

#: The distribution that brings each runtime.
DISTRIBUTIONS: Final = {
    RuntimeName.LITERT: "ai-edge-litert",
    RuntimeName.TFLITE_RUNTIME: "tflite-runtime",
    RuntimeName.ONNXRUNTIME: "onnxruntime",
    RuntimeName.ONNXRUNTIME_GPU: "onnxruntime-gpu",
}

#: Where the CUDA libraries of onnxruntime-gpu come from: the box, or NVIDIA's wheels.
CudaSource = Literal["system", "bundled"]

#: NVIDIA's wheels that onnxruntime-gpu needs.
#: Source: its metadata of 1.24.4, extras `cuda` and `cudnn`, and what those require.
CUDA_DISTRIBUTIONS: Final = (
    "nvidia-cublas-cu12",
    "nvidia-cuda-nvrtc-cu12",
    "nvidia-cuda-runtime-cu12",
    "nvidia-cudnn-cu12",
    "nvidia-cufft-cu12",
    "nvidia-curand-cu12",
    "nvidia-nvjitlink-cu12",
)

#: What onnxruntime-gpu can compute with. Source: its `get_available_providers()`.
PROVIDERS: Final = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")


@dataclass(frozen=True, slots=True)
class Runtime:
    """One inference runtime that a target may be given.

    Attributes:
        name: Which runtime.
        version: The exact version.
        requirements: Further requirements, such as `numpy<2`.
        providers: Execution providers in order of preference; empty means the default.
        prune: Globs of files in the site that are never loaded; `*` also matches `/`.
        hollow: Packages of the site that are imported and never used, as paths in it; an empty
            module is left of each.
        drop: Distributions the runtime declares but never imports to run a model.
        external: Distributions that are not packed: the box brings them, or install
            takes them by hash.
        cuda: Where the CUDA libraries come from; onnxruntime-gpu only.
    """

    name: RuntimeName
    version: str
    requirements: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    prune: tuple[str, ...] = ()
    hollow: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    cuda: CudaSource = "system"

    @property
    def distribution(self) -> str:
        """The distribution that brings it, such as `ai-edge-litert`."""
        return DISTRIBUTIONS[self.name]

    @property
    def label(self) -> str:
        """Name and version, such as `litert 2.3.0`."""
        return f"{self.name} {self.version}"

    @property
    def outside(self) -> tuple[str, ...]:
        """Every distribution that is not packed, the CUDA libraries that come along included."""
        return (*self.external, *(CUDA_DISTRIBUTIONS if self.cuda == "bundled" else ()))

    @property
    def all_requirements(self) -> tuple[str, ...]:
        """Everything its site must hold: the pin, its own, and the runner's requirements."""
        extras = "[cuda,cudnn]" if self.cuda == "bundled" else ""
        pin = f"{self.distribution}{extras}=={self.version}"
        # Every runtime needs numpy, and old ones do not say so.
        return (pin, "numpy", *self.requirements, *RUNNER_REQUIREMENTS)


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of box.

    Attributes:
        name: Its name, also that of its file.
        description: One line for people.
        arch: As `platform.machine()` says it on the box.
        os: `linux`.
        glibc: The C library's version on the box, such as `2.36`.
        python: The interpreter's minor version on the box, such as `3.11`.
        memory_mb: The box's memory in MB (10^6 bytes).
        bundle_limit_mb: The largest bundle in MB (10^6 bytes).
        qemu_model: The CPU in QEMU's words, such as `cortex-a72`.
        cpu_flags: Flags that /proc/cpuinfo shows on every such box.
        runtimes: The candidates, in the order written.
        variants: The variants that may be shipped.
        max_batch: The most rows of one call of a variant that can take several; 1: one at a time.
        p99_ms: The latency budget, or None.
        candidates: The most variants a bundle carries.
        verify: Whether it runs here as it is or under an emulator.
        suite: The Debian suite whose Python it is proved with.
        base_image: The container image that a person would take for it; empty for none.
        path: The file it came from.
    """

    name: str
    description: str
    arch: Arch
    os: str
    glibc: str
    python: str
    memory_mb: int
    bundle_limit_mb: float
    qemu_model: str
    cpu_flags: tuple[str, ...]
    runtimes: tuple[Runtime, ...]
    variants: tuple[VariantSpec, ...]
    max_batch: int
    p99_ms: float | None
    candidates: int
    verify: VerifyMode
    suite: str
    base_image: str
    path: Path

    @property
    def lock_path(self) -> Path:
        """The file with its pinned wheels, beside its own."""
        return self.path.with_suffix(".lock")

    @property
    def bundle_limit_bytes(self) -> int:
        """The largest bundle in bytes."""
        return round(self.bundle_limit_mb * 1_000_000)

    @property
    def uv_platform(self) -> str:
        """The platform in the words of uv, such as `aarch64-manylinux_2_36`."""
        return f"{self.arch}-manylinux_{self.glibc.replace('.', '_')}"

    @property
    def debian_arch(self) -> str:
        """The architecture in Debian's words."""
        return {"x86_64": "amd64", "aarch64": "arm64"}[self.arch]

    def needs(self, spec: VariantSpec) -> Needs:
        """Returns what it needs of a variant beyond what every box takes; only ONNX can give it."""
        if spec.format is not Format.ONNX:
            return NO_NEEDS
        names = {runtime.name for runtime in self.runtimes}
        return Needs(rows=self.max_batch > 1, card=RuntimeName.ONNXRUNTIME_GPU in names)

    def runtime(self, name: str) -> Runtime:
        """Returns one of its runtimes.

        Raises:
            ConfigError: The target does not list it.
        """
        for each in self.runtimes:
            if each.name == name:
                return each
        known = [str(each.name) for each in self.runtimes]
        raise ConfigError(
            f"target {self.name} has no runtime '{name}'{did_you_mean(name, known)}",
            hint=f"runtimes of {self.name}: {', '.join(known)}",
        )

    def definition(self) -> dict[str, Any]:
        """Returns everything that decides what a build for it does, as JSON values."""
        # Left out where it is 1, so that a target without the key is the one it always was.
        batch = {"max_batch": self.max_batch} if self.max_batch > 1 else {}
        return {
            **batch,
            "name": self.name,
            "arch": self.arch,
            "os": self.os,
            "glibc": self.glibc,
            "python": self.python,
            "memory_mb": self.memory_mb,
            "bundle_limit_mb": self.bundle_limit_mb,
            "cpu": [self.qemu_model, *self.cpu_flags],
            "runtimes": [runtime_definition(each) for each in self.runtimes],
            "variants": [each.name for each in self.variants],
            "p99_ms": self.p99_ms,
            "candidates": self.candidates,
            "verify": [self.verify, self.suite],
        }

    def sha256(self, lock: bytes = b"") -> str:
        """Returns the hash of its definition and its lock file.

        Args:
            lock: The lock file's bytes; what lies beside the target is the caller's to read.
        """
        return sha256_hex(canonical_json(self.definition()) + lock)

    def info(self, lock: bytes = b"") -> TargetInfo:
        """Returns what a bundle's manifest says of it.

        Args:
            lock: The lock file's bytes.
        """
        return TargetInfo(
            name=self.name,
            sha256=self.sha256(lock),
            arch=self.arch,
            os=self.os,
            glibc=self.glibc,
            python=self.python,
            memory_mb=self.memory_mb,
            cpu=self.qemu_model,
            cpu_flags=self.cpu_flags,
            p99_budget_ms=self.p99_ms,
        )


def runtime_definition(runtime: Runtime) -> dict[str, Any]:
    """Returns everything that decides a runtime's site, as JSON values."""
    # Left out where there are none, so that a target without the key is the one it always was.
    hollow = {"hollow": list(runtime.hollow)} if runtime.hollow else {}
    return {
        **hollow,
        "name": str(runtime.name),
        "version": runtime.version,
        "requirements": list(runtime.all_requirements),
        "providers": list(runtime.providers),
        "prune": list(runtime.prune),
        "drop": list(runtime.drop),
        "external": list(runtime.outside),
    }
