"""How often each scenario runs, all of them side by side."""

from typing import NamedTuple


class Share(NamedTuple):
    """`weight`: of ten users, so many. `period`: seconds from one journey's start to the next."""

    weight: int
    period: float


MIX = {
    "BrowseAndEdit": Share(weight=4, period=2),
    "LogIn": Share(weight=1, period=4),
    "TransformPicture": Share(weight=1, period=4),
    "FollowJob": Share(weight=1, period=3),
    "PollJob": Share(weight=2, period=4),
    "ReadLists": Share(weight=1, period=3),
}
