from boucle.kernel.progress import Progress, Silent


def test_silence_says_nothing_and_lets_errors_pass(capfd: object) -> None:
    progress: Progress = Silent()
    progress.say("hello")
    try:
        with progress.task("fit", total=None) as task:
            task.advance(3, note="nearly")
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert capfd.readouterr() == ("", "")  # type: ignore[attr-defined]
