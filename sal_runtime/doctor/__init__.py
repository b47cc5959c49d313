"""What works on this machine, and what to install for what does not.

doctor.py   the checks of `sal doctor`
machine.py  processor, GPUs, versions
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sal_runtime.lazy import lazy_names

if TYPE_CHECKING:
    from sal_runtime.doctor.doctor import DoctorReport as DoctorReport
    from sal_runtime.doctor.doctor import examine as examine
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "doctor": ("DoctorReport", "examine"),
        },
    )
