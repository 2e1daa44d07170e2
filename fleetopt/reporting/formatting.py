"""Numbers as people read them, the same everywhere."""

import math

MISSING = "-"


def count(value: float | None) -> str:
    """A whole number with thousands separators."""
    return MISSING if value is None else f"{value:,.0f}"


def seconds(value: float | None) -> str:
    """Seconds to three significant digits, the unit with them.

    Examples
    --------
    >>> seconds(0.04321), seconds(0.5), seconds(1234.4)
    ('0.0432 s', '0.500 s', '1,234 s')
    """
    return MISSING if value is None else f"{three_digits(value)} s"


def three_digits(value: float) -> str:
    """A number to three significant digits; whole ones above 1,000 keep theirs."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    if digits and abs(round(value, digits)) >= 10 ** (3 - digits):
        digits -= 1
    return f"{value:,.{digits}f}"


def rate(value: float | None) -> str:
    """Requests per second."""
    return MISSING if value is None else f"{three_digits(value)}/s"


def percent(value: float | None) -> str:
    """A share in percent; a small one keeps two significant digits, and only a whole one is 100 %.

    Examples
    --------
    >>> percent(0.4123), percent(0.00042), percent(0.0)
    ('41.2 %', '0.042 %', '0 %')
    >>> percent(0.99984), percent(1.0)
    ('99.98 %', '100.0 %')
    """
    if value is None:
        return MISSING
    if value == 0:
        return "0 %"
    if abs(value) < 0.001:
        return f"{100 * value:.2g} %"
    if 0.9995 <= value < 1.0:  # one digit would say that nothing is missing
        decimals = min(6, -math.floor(math.log10(100.0 * (1.0 - value))))
        return f"{math.floor(100.0 * value * 10**decimals) / 10**decimals:.{decimals}f} %"
    return f"{100 * value:.1f} %"


def usd(value: float | None, *, signed: bool = False) -> str:
    """US dollars; cents below a thousand.

    Examples
    --------
    >>> usd(56.28), usd(493012.8), usd(-12.06, signed=True)
    ('$56.28', '$493,013', '-$12.06')
    """
    if value is None:
        return MISSING
    amount = f"{abs(value):,.2f}" if round(abs(value), 2) < 1000 else f"{abs(value):,.0f}"
    sign = "-" if value < 0 else "+" if signed and value > 0 else ""
    return f"{sign}${amount}"


def interval(lower: float | None, upper: float | None) -> str:
    """A confidence interval of seconds; empty where there is none."""
    return "" if lower is None or upper is None else f"{three_digits(lower)} to {three_digits(upper)}"


def replicas(value: int, profile: str) -> str:
    """Replicas of a GPU type."""
    return f"{count(value)} x {profile}"
