"""Whose cgroup is ours to divide: where the nodes get cgroups of their own. Pure.

Being able to write somewhere is not enough: root can write everywhere, and who manages one cgroup of a service, as a
program with ``Delegate=yes`` that calls `multi`, must not find it divided by us. So a mark must say that it is
delegated, it must belong to our user, and nobody but us may be in it, or else somebody says aloud that it is meant.
"""

from __future__ import annotations

from multi.model.cgroup import SUPERVISOR
from multi.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from multi.model.cgroup import Folder

VARIABLE = "MULTI_CGROUP"
DELEGATED, NONE = "delegated", "none"  # what it may say


def home(own: Folder | None, above: Folder | None, said: str) -> str:
    """The cgroup whose children are those of nodes; empty for none. `own` is the one that we are in.

    A `multi` has taken the one above where we run beside the nodes, as a command of systemd (ExecReload= and the like)
    or of a node. With ``DelegateSubgroup=supervisor`` systemd itself puts us below the one that is delegated.
    """
    if said == NONE or own is None:
        return ""
    if above is not None and above.ours and above.taken:
        return above.path
    if own.ours and (said == DELEGATED or (own.marked and not own.others)):
        return own.path
    below = own.path.rpartition("/")[2] == SUPERVISOR and not own.others
    if above is not None and above.ours and above.marked and below and not above.others:
        return above.path
    return ""


def former_home(folder: Folder | None, owner: int | None, uid: int, said: str) -> str:
    """Where a node goes that we, `uid`, start again from elsewhere, as a login shell: where it was.

    A `multi` must have marked it. A record of another user, the `owner`, makes root put nothing into a cgroup but that
    user's.
    """
    if folder is None or not folder.taken or said == NONE:
        return ""
    believed = folder.ours if owner in {None, 0, uid} else uid == 0 and folder.uid == owner
    return folder.path if believed else ""
