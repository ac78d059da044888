//! Points in time, as files and image configurations carry them.

/// A point in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanoseconds: u32,
}

const SECONDS_PER_DAY: i64 = 86_400;
const DAYS_PER_ERA: i64 = 146_097;
/// Days from the first of March of year 0 to the first of January 1970.
const DAYS_TO_1970: i64 = 719_468;

impl Time {
    /// A whole second.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }

    /// The same second without its nanoseconds.
    #[must_use]
    pub const fn truncated(self) -> Self {
        Self::from_seconds(self.seconds)
    }

    /// As Go writes times in JSON: UTC, and only as many digits of the second as are needed.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let (days, second) =
            (self.seconds.div_euclid(SECONDS_PER_DAY), self.seconds.rem_euclid(SECONDS_PER_DAY));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
        if self.nanoseconds != 0 {
            text += format!(".{:09}", self.nanoseconds).trim_end_matches('0');
        }
        text + "Z"
    }

    /// Reads an RFC 3339 time with any offset. `None` when `text` is none; digits below nanoseconds are dropped.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let (date, rest) = text.split_at_checked(10)?;
        let (clock, rest) = rest.strip_prefix(['T', 't'])?.split_at_checked(8)?;
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
        let valid =
            (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
        let (nanoseconds, rest) = fraction(rest)?;
        let offset = offset(rest)?;
        let seconds = days(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second - offset;
        valid.then_some(Self { seconds, nanoseconds })
    }

    /// Reads a time of an HTTP header, in any of the three forms that there ever were. `None` when `text` is none.
    #[must_use]
    pub fn parse_http(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split([' ', '-']).filter(|word| !word.is_empty()).collect();
        let (day, name, year, clock) = match words[..] {
            // Sun, 06 Nov 1994 08:49:37 GMT; Sunday, 06-Nov-94 08:49:37 GMT
            [weekday, day, month, year, clock, "GMT" | "UTC"] if weekday.ends_with(',') => {
                (day, month, year, clock)
            }
            // Sun Nov  6 08:49:37 1994
            [_, month, day, clock, year] => (day, month, year, clock),
            _ => return None,
        };
        let year = match (digits(year)?, year.len()) {
            (year, 2) => year + if year >= 69 { 1900 } else { 2000 },
            (year, 4) => year,
            _ => return None,
        };
        let day = digits(day).filter(|day| (1..=31).contains(day))?;
        let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
        let days = days(year, month(name)?, day);
        (hour < 24 && minute < 60 && second < 61)
            .then_some(Self::from_seconds(days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second))
    }
}

/// Month, by the first three letters of its English name.
fn month(name: &str) -> Option<i64> {
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let index = months.iter().position(|month| *month == name)?;
    i64::try_from(index + 1).ok()
}

/// Year, month and day of a number of days since 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_1970;
    let (era, day) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

/// The number of days from 1970 to a date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let day = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * DAYS_PER_ERA + year * 365 + year / 4 - year / 100 + day - DAYS_TO_1970
}

/// Three numbers of fixed width.
fn numbers(text: &str, separator: char, widths: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut values = [0; 3];
    for (value, width) in values.iter_mut().zip(widths) {
        let part = parts.next().filter(|part| part.len() == width)?;
        *value = digits(part)?;
    }
    parts.next().is_none().then_some(values)
}

fn digits(text: &str) -> Option<i64> {
    let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| text.parse().ok()).flatten()
}

/// The nanoseconds of an optional `.123`, and what follows it.
fn fraction(text: &str) -> Option<(u32, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (fraction, rest) = rest.split_at(end);
    let nanoseconds = format!("{:0<9}", fraction.get(..9).unwrap_or(fraction)).parse().ok()?;
    (!fraction.is_empty()).then_some((nanoseconds, rest))
}

/// `Z` or `+hh:mm`, in seconds.
fn offset(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let (sign, rest) = match text.strip_prefix('+') {
        Some(rest) => (1, rest),
        None => (-1, text.strip_prefix('-')?),
    };
    let (hour, minute) = rest.split_once(':').filter(|_| rest.len() == 5)?;
    Some(sign * (digits(hour)? * 3600 + digits(minute)? * 60))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_go_writes_it() {
        assert_eq!(Time::default().rfc3339(), "1970-01-01T00:00:00Z");
        assert_eq!(
            Time { seconds: 1_709_210_096, nanoseconds: 120_000_000 }.rfc3339(),
            "2024-02-29T12:34:56.12Z"
        );
        assert_eq!(Time::from_seconds(-1).rfc3339(), "1969-12-31T23:59:59Z");
        assert_eq!(
            Time { seconds: -62_135_596_800, nanoseconds: 1 }.rfc3339(),
            "0001-01-01T00:00:00.000000001Z"
        );
    }

    #[test]
    fn offsets_and_bad_texts() {
        let noon = Time::parse_rfc3339("2024-02-29T12:00:00Z");
        assert_eq!(Time::parse_rfc3339("2024-02-29T13:30:00+01:30"), noon);
        assert_eq!(Time::parse_rfc3339("2024-02-29T04:00:00.000-08:00"), noon);
        for bad in
            ["", "2024-02-29", "2024-13-01T00:00:00Z", "2024-02-29T12:00:00", "2024-02-29T12:00:00.Z", "é"]
        {
            assert_eq!(Time::parse_rfc3339(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn times_of_http() {
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(Time::parse_http(text), Some(Time::from_seconds(784_111_777)), "{text}");
        }
        for bad in
            ["", "Sun, 06 Nov 1994", "Sun, 06 Non 1994 08:49:37 GMT", "Sun, 0 Nov 1994 08:49:37 GMT", "0"]
        {
            assert_eq!(Time::parse_http(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trip(seconds in -62_135_596_800_i64..253_402_300_800, nanoseconds in 0..1_000_000_000_u32) {
            let time = Time { seconds, nanoseconds };
            prop_assert_eq!(Time::parse_rfc3339(&time.rfc3339()), Some(time));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}|[0-9TZ:.+-]{0,40}|[A-Z][a-z]{2}, [0-9 ]{1,9}Nov [0-9]{1,9} [0-9:]{8} GMT") {
            let _ = Time::parse_rfc3339(&text);
            let _ = Time::parse_http(&text);
        }
    }
}
