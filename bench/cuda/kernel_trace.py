"""What the device does in a step, kernel by kernel, as CUPTI sees it through PyTorch's profiler: what events between records cannot show,
which are far apart."""

import re
from collections import defaultdict

from measure import Results, Torch
from steps import Session

STEPS = 3


def short(name: str) -> str:
    """bk::cuda::gemm_kernel<bk::cuda::Shape<1, 2>, ...>(...) as gemm_kernel<Shape<1, 2>, ...>"""
    name = re.sub(r"\(anonymous namespace\)::|bk::cuda::|bk::|heads::|backward::|^void ", "", name)
    return re.sub(r"\(.*", "", name)[:90]


def trace(session: Session, name: str, torch: Torch, results: Results):
    """Kernels of a step by name, the longest first; the time between the first one's start and the last one's end."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    step = session.steps[0]
    session.once(step)
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(STEPS):
            session.once(step)
        torch.sync()
    spans = sorted((e.time_range.start, e.time_range.end, e.name) for e in profiler.events() if e.device_type == DeviceType.CUDA)
    kernels = [span for span in spans if not span[2].startswith(("Memcpy", "Memset"))]
    if not kernels:
        print(f"{name}: the profiler has seen no kernels")
        return
    sums = defaultdict(lambda: [0, 0.0])
    for start, end, kernel in kernels:
        sums[short(kernel)][0] += 1
        sums[short(kernel)][1] += end - start
    busy, span = sum(line[1] for line in sums.values()) / STEPS, (kernels[-1][1] - kernels[0][0]) / STEPS
    lines = sorted(sums.items(), key=lambda line: -line[1][1])
    print(f"{name}: {len(kernels) // STEPS} kernels take {busy:.0f} us of {span:.0f} us")
    for kernel, (count, microseconds) in lines[:24]:
        print(f"  {kernel:92} {count / STEPS:6.1f} {microseconds / STEPS:9.1f} us {microseconds / count:8.2f} us each")
    results.note(f"trace of {name}", busy_us=busy, span_us=span, kernels={kernel: [count / STEPS, us / STEPS] for kernel, (count, us) in lines})
