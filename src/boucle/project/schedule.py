"""Moments by a cron expression, in UTC."""

from datetime import UTC, datetime


def next_moment(schedule: str, after: datetime) -> datetime | None:
    """The first moment of a schedule later than one; None if there is none within fifty years.

    >>> next_moment("0 6 * * 1", datetime(2013, 7, 15, 6, tzinfo=UTC))
    datetime.datetime(2013, 7, 22, 6, 0, tzinfo=datetime.timezone.utc)
    """
    from cronsim import CronSim

    return next(CronSim(schedule, after.astimezone(UTC)), None)


def schedule_problem(schedule: str) -> str | None:
    """What is wrong with a cron expression; None if it can be followed."""
    from cronsim import CronSimError

    try:
        found = next_moment(schedule, datetime(2001, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        return f"{schedule!r} is no cron expression: {error}; write minute, hour, day, month and weekday: `0 6 * * 1`"
    return None if found else f"{schedule!r} names no moment that ever comes"
