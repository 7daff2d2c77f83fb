"""What is sampled. Rates are means over the time since the sample before; the first row has none.

Nothing here imports more than the standard library: the sampler must start fast and stay small.
"""

from __future__ import annotations

VERSION = 1
PERIOD_S = 1.0

COLUMNS: dict[str, tuple[str, str]] = {
    "seconds": ("s", "since the sampler began"),
    "stage_cores": ("cores", "processor time of the stage's processes, per second"),
    "stage_memory_bytes": ("B", "resident memory of the stage's processes; shared pages count for each"),
    "stage_processes": ("", "processes of the stage"),
    "stage_threads": ("", "threads of the stage"),
    "stage_blocked": ("", "processes of the stage that waited for a device when looked at (state D)"),
    "minor_faults": ("1/s", "page faults of the stage served from memory"),
    "major_faults": ("1/s", "page faults of the stage that waited for a device"),
    "read_bytes": ("B/s", "read from devices by the stage"),
    "written_bytes": ("B/s", "written towards devices by the stage"),
    "read_calls_bytes": ("B/s", "through read calls of the stage, page cache included"),
    "other_cores": ("cores", "processor time of everybody else on the cores this process may use, per second"),
    "stolen_cores": ("cores", "time the hypervisor kept from those cores, per second"),
    "io_wait_cores": ("cores", "time those cores idled for I/O, per second"),
    "runnable": ("", "runnable threads of the whole machine"),
    "available_bytes": ("B", "memory available to new processes"),
    "cached_bytes": ("B", "page cache of the whole machine"),
    "swap_used_bytes": ("B", "swap in use"),
    "swap_pages": ("1/s", "pages swapped in and out by the whole machine"),
    "pressure_cpu": ("fraction", "of time in which some thread of the machine waited for a core"),
    "pressure_memory": ("fraction", "of time in which some thread waited for memory to be reclaimed"),
    "pressure_io": ("fraction", "of time in which all threads that could run waited for I/O"),
    "quota_stopped": ("fraction", "of time the control group was stopped for having used up its quota"),
    "memory_limit_hits": ("1/s", "allocations that met the control group's limit"),
    "clock_mhz": ("MHz", "mean processor clock; constant or absent in most virtual machines"),
    "thermal_events": ("1/s", "throttling of cores for heat"),
    "temperature_c": ("C", "hottest thermal zone"),
    "package_watts": ("W", "processor packages by RAPL, where readable"),
    "inputs_cached": ("fraction", "of the stage's input files that is in the page cache, estimated"),
    "sampler_cpu_seconds": ("s", "processor time of the sampler itself since it began"),
}

GPU_COLUMNS: dict[str, tuple[str, str]] = {
    "index": ("", "NVML index"),
    "load": ("fraction", "of time in which a kernel ran"),
    "memory_bytes": ("B", "memory in use"),
    "sm_clock_mhz": ("MHz", "clock of the multiprocessors"),
    "memory_clock_mhz": ("MHz", "clock of the memory"),
    "watts": ("W", "power drawn"),
    "temperature_c": ("C", "temperature"),
    "throttle_mask": ("", "NVML's reasons for clocks below the maximum"),
    "pcie_sent_bytes": ("B/s", "from the card"),
    "pcie_received_bytes": ("B/s", "to the card"),
    "energy_joules": ("J", "the card's own counter"),
    "other_processes": ("", "compute processes on the card that are not the stage's"),
}

POWER_CAP = 0x04
HARDWARE_SLOWDOWN = 0x08
THERMAL = 0x20 | 0x40
POWER_BRAKE = 0x80
"""Bits of NVML's clocks throttle reasons (nvml.h)."""
