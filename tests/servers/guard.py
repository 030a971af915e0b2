"""Runs one server process and cleans up after a parent that died.

`python guard.py PARENT REPORT FOLDER USER COMMAND...` starts COMMAND (as USER, if one is named), writes its
pid to the file descriptor REPORT, and waits. When the server ends, so does the guard. When PARENT is gone
first, however it died, the guard kills the server with all its processes and removes FOLDER.

Why a process of its own: PR_SET_PDEATHSIG in the server alone would fire as soon as the *thread* that started
it ends, is not inherited by the processes that the server forks, and leaves a paused PostgreSQL stopped for
ever. The guard has one thread, so here the signal is safe: it covers the death of the guard itself.

The functions on processes serve `base.py` as well. They read /proc: Linux only. Standard library only, since
the guard runs with `python -I -S`, which starts in a few milliseconds.
"""

import contextlib
import ctypes
import os
import pwd
import select
import signal
import sys
import time
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
LOOK_SECONDS = 1.0  # whether the parent is still there; the end of the child is noticed at once
SETTLE_SECONDS = 10.0


def status(pid: int) -> tuple[str, int] | None:
    """The state letter and the parent's pid of a process, or None if it has ended (a zombie has)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name of the program, in brackets, may itself hold spaces and brackets.
    state, parent = text.rpartition(")")[2].split()[:2]
    return None if state in "ZX" else (state, int(parent))


def family(pid: int) -> list[int]:
    """The process and all its living descendants, parents before their children."""
    found = {int(name): status(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    members = [pid]
    for member in members:  # grows as it goes
        members += [child for child, seen in found.items() if seen and seen[1] == member]
    return members


def pause(pid: int) -> list[int]:
    """Stops the process and its descendants with SIGSTOP, and returns them once they stand still."""
    members = _hold(pid)
    for member in members[1:]:
        send(member, signal.SIGSTOP)
    _settle(members, _still)
    return members


def resume(pid: int) -> None:
    """Lets a paused process and its descendants go on."""
    for member in reversed(family(pid)):
        send(member, signal.SIGCONT)


def destroy(pid: int) -> None:
    """Kills the process and its descendants with SIGKILL, and returns once none is left."""
    members = _hold(pid)
    for member in members:
        send(member, signal.SIGKILL)
    _settle(members, lambda member: status(member) is None)


def send(pid: int, number: signal.Signals) -> None:
    """Sends a signal to a process that may have ended meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _hold(pid: int) -> list[int]:
    """Stops the first process, so that it cannot fork while its family is listed; returns the family."""
    send(pid, signal.SIGSTOP)
    _settle([pid], _still)
    return family(pid)


def _still(pid: int) -> bool:
    seen = status(pid)
    return seen is None or seen[0] in "Tt"


def _settle(pids: list[int], done: Callable[[int], bool]) -> None:
    """Waits until `done` holds for each process: signals take effect a moment after they are sent."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while not all(done(pid) for pid in pids):
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {pids} did not react to a signal within {SETTLE_SECONDS:.0f} s")
        time.sleep(0.002)


def bind(libc: ctypes.CDLL, guard: int) -> None:
    """Has this process, the child of a guard, be killed when the guard dies."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if os.getppid() != guard:
        os._exit(1)


def _start(user: str, command: list[str]) -> int:
    """Starts the server in a session of its own (Ctrl-C is not for it), bound to the life of this process. Returns its
    pid; ends this process with what is wrong where it can't be executed.

    Without `subprocess`, which takes longer to import than all the rest: hundreds of servers are started."""
    guard = os.getpid()
    libc = ctypes.CDLL(None)  # loaded before the fork
    wrong, told = os.pipe()  # which closes as the program is executed
    pid = os.fork()
    if pid == 0:
        try:
            _execute(user, command, lambda: bind(libc, guard))
        except BaseException as error:
            os.write(told, f"{command[0]}: {error}".encode())
        finally:
            os._exit(127)
    os.close(told)
    with open(wrong, encoding="utf-8") as file:
        if message := file.read():
            sys.exit(message)
    return pid


def _execute(user: str, command: list[str], last: Callable[[], None]) -> None:
    """Becomes that program, as that user if one is named, in a session of its own."""
    os.setsid()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
        signal.signal(number, signal.SIG_DFL)
    if user:
        found = pwd.getpwnam(user)
        os.setgroups(())
        os.setgid(found.pw_gid)
        os.setuid(found.pw_uid)
    last()  # after the change of user, which would reset the signal of the parent's death
    os.execvp(command[0], command)  # noqa: S606 - no shell is what is meant


def _ended(pid: int) -> int | None:
    """How a child has ended; None if it has not."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def watch(pid: int, parent: int, folder: str) -> int:
    """Waits for the end of a child, and returns what it ended with. If the parent of this process is gone first, the
    child is killed with all its processes, and the folder removed, if one is named. SIGCHLD is blocked."""
    while (code := _ended(pid)) is None:
        if os.getppid() == parent:
            _wait_for_end(pid, parent)
        else:
            destroy(pid)
    if os.getppid() != parent and folder:
        _remove(folder)
    return code


def _remove(folder: str) -> None:
    """Removes a temporary folder: never, by a slip, the one that has those of everybody, in which all may write."""
    import shutil  # most parents outlive their servers

    with contextlib.suppress(FileNotFoundError):
        if not os.stat(folder).st_mode & 0o002:
            shutil.rmtree(folder, ignore_errors=True)


def _wait_for_end(child: int, parent: int) -> None:
    """Waits until one of the two ends, or for a moment where the system can't say."""
    with contextlib.ExitStack() as stack:
        waiting = select.poll()
        try:
            for pid in (child, parent):
                file = os.pidfd_open(pid)
                stack.callback(os.close, file)
                waiting.register(file, select.POLLIN)
        except ProcessLookupError:  # the parent has just ended; the child stays a zombie until it is polled
            return
        except OSError:  # a system without such files, or no room for one
            signal.sigtimedwait({signal.SIGCHLD}, LOOK_SECONDS)
            return
        if os.getppid() == parent:  # it was not another one that has got its number
            waiting.poll()


def main(parent: int, report: int, folder: str, user: str, command: list[str]) -> int:
    """Starts the command, watches it and the parent; returns an exit code as a shell would give it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # watch() takes it
    os.set_inheritable(report, False)
    pid = _start(user, command)
    os.write(report, str(pid).encode())
    os.close(report)
    code = watch(pid, parent, folder)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:]))
