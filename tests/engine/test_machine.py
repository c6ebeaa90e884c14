import os

from engine import machine


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)


def test_cores_are_those_of_the_containers_quota(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    own, groups = tmp_path / "own", tmp_path / "groups"
    assert machine.available_cores(own, groups) == 16
    own.write_text("0::/outer/inner\n")
    assert machine.available_cores(own, groups) == 16
    write(groups, cpu__max="max 100000\n")
    write(groups / "outer" / "inner", cpu__max="max 100000\n")
    assert machine.available_cores(own, groups) == 16
    write(groups / "outer", cpu__max="350000 100000\n")  # a quota holds for all groups within
    assert machine.available_cores(own, groups) == 3
    write(groups, cpu__max="50000 100000\n")
    assert machine.available_cores(own, groups) == 1
    own.write_text("4:memory:/x\n3:cpu,cpuacct:/job\n0::/\n")
    (groups / "cpu.max").unlink()
    write(groups / "cpu", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    assert machine.available_cores(own, groups) == 16
    write(groups / "cpu" / "job", cpu__cfs_quota_us="200000\n", cpu__cfs_period_us="100000\n")
    assert machine.available_cores(own, groups) == 2
