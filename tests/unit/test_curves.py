"""Curves in a line of text: as wide as there is room, peaks kept, amounts told beside them."""

from fntx_sessions.cli import curves


def test_the_lowest_value_is_the_lowest_block_and_the_highest_the_highest():
    """Gains and losses are one line: zero has no place of its own."""
    assert curves.drawn([-10, 0, 10]) == "▁▄█"
    assert curves.drawn([5, 5]) == "▄▄"
    assert curves.drawn([]) == "-"


def test_a_peak_of_one_sample_among_thousands_is_drawn():
    """However narrow the line, what stands out is in it."""
    values = [0.0] * 5000
    values[1234], values[4321] = -50.0, 50.0
    line = curves.drawn(values, 40)
    assert (len(line), line.count("▁"), line.count("█")) == (40, 1, 1)


def test_the_amounts_are_beside_the_curve_whole_and_a_curve_over_days_says_which_day_it_began():
    """A picture alone is no amount; exposure is not drawn where there never was any."""
    points = [
        {"timestamp": "2026-01-05T15:00:00Z", "net_pnl": "-1234567.89", "exposure": "0"},
        {"timestamp": "2026-01-06T15:00:00Z", "net_pnl": "20.50", "exposure": "26500"},
    ]
    told = curves.told({"points": points})
    assert all(part in told["P&L"] for part in ("-$1,234,567.89", "$20.50", "since 2026-01-05 15:00 UTC", "▁█"))
    assert "$26,500.00 at most" in told["at stake"]
    still = curves.told({"points": points[:1]})
    assert still["at stake"] is None
    assert "since 15:00 UTC" in still["P&L"]
    assert curves.told(None) == curves.told({"points": []}) == {}
