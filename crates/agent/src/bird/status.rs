//! What `show status` says, and BIRD's way of writing times; pure.
//!
//! BIRD writes local times in the format that its configuration asks for: a time of the day, a date, or both. How long ago one
//! was is worked out against the time that BIRD itself says it is, so clocks and zones don't matter.

use super::reply::Reply;

/// How BIRD is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// `2.0.12`.
    pub version: String,
    /// Its router id.
    pub router_id: String,
    /// What time it is for BIRD.
    pub now: Option<Moment>,
    /// When it last read its configuration, as BIRD writes it.
    pub reconfigured: String,
    /// `Daemon is up and running`, or what it is doing instead.
    pub state: String,
}

impl Status {
    /// Whether nothing is under way: no shutdown, no reconfiguration.
    pub fn is_settled(&self) -> bool {
        self.state.contains("up and running")
    }
}

/// A time as BIRD writes it, to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Days since 1970, if a date was written.
    day: Option<i64>,
    /// Seconds of the day, if a time was written.
    second: Option<i64>,
}

impl Moment {
    /// Reads `2026-11-21 18:34:34.191`, either half of it, or nothing that is known.
    pub fn parse(text: &str) -> Option<Moment> {
        let mut words = text.split_whitespace();
        let (first, second) = (words.next()?, words.next());
        if words.next().is_some() {
            return None;
        }
        match second {
            Some(second) => Some(Moment { day: Some(day(first)?), second: Some(second_of_day(second)?) }),
            None => match day(first) {
                Some(day) => Some(Moment { day: Some(day), second: None }),
                None => Some(Moment { day: None, second: Some(second_of_day(first)?) }),
            },
        }
    }

    /// Seconds from an earlier moment to this one. A date alone gives whole days; a time alone is within the last day.
    pub fn since(self, earlier: Moment) -> Option<u64> {
        const DAY_S: i64 = 86_400;
        let seconds = match (self, earlier) {
            (Moment { second: Some(now), .. }, Moment { day: None, second: Some(then) }) => {
                (now - then).rem_euclid(DAY_S)
            }
            (Moment { day: Some(now), .. }, Moment { day: Some(then), second: None }) => (now - then) * DAY_S,
            (Moment { day: Some(day), second: Some(second) }, Moment { day: Some(then), second: Some(at) }) => {
                (day - then) * DAY_S + second - at
            }
            _ => return None,
        };
        u64::try_from(seconds).ok()
    }
}

/// Days since 1970 of `2026-11-21`, by the civil calendar.
fn day(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let (year, month, day) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March have the leap day at their end.
    let year = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

/// Seconds of `18:34:34.191`, with or without its fraction.
fn second_of_day(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut parts = whole.split(':');
    let (hour, minute, second) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let is_time = parts.next().is_none() && hour < 24 && minute < 60 && second <= 60;
    (is_time && fraction.bytes().all(|byte| byte.is_ascii_digit())).then_some(hour * 3_600 + minute * 60 + second)
}

fn number(text: &str, digits: usize) -> Option<i64> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// Reads an answer to `show status`; what is missing stays empty.
pub fn read(reply: &Reply) -> Status {
    let mut status = Status::default();
    for line in &reply.lines {
        let text = line.text.trim();
        match text {
            _ if line.code == 1_000 => status.version = text.trim_start_matches("BIRD").trim().to_owned(),
            _ if line.code == 13 => status.state = text.to_owned(),
            _ => {
                let after = |words: &str| text.strip_prefix(words).map(str::trim);
                if let Some(id) = after("Router ID is") {
                    status.router_id = id.to_owned();
                } else if let Some(now) = after("Current server time is") {
                    status.now = Moment::parse(now);
                } else if let Some(at) = after("Last reconfiguration on") {
                    status.reconfigured = at.to_owned();
                }
            }
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::super::reply::tests::reply;
    use super::*;

    #[test]
    fn what_bird_says_of_itself_is_read() {
        let status = read(&reply(
            "1000-BIRD 2.0.12\n1011-Router ID is 10.0.0.1\n Hostname is vm\n Current server time is 2026-11-21 18:34:34.191\n \
             Last reboot on 2026-11-21 18:34:27.689\n Last reconfiguration on 2026-11-21 18:34:27.689\n\
             0013 Daemon is up and running\n",
        ));
        assert_eq!((status.version.as_str(), status.router_id.as_str()), ("2.0.12", "10.0.0.1"));
        assert!(status.is_settled() && status.reconfigured == "2026-11-21 18:34:27.689");
        assert_eq!(status.now, Moment::parse("2026-11-21 18:34:34"));
        assert!(!read(&reply("1000-BIRD 2.0.12\n0013 Shutdown in progress\n")).is_settled());
    }

    #[test]
    fn an_age_is_known_of_every_way_to_write_a_time() {
        let check = |now: &str, then: &str, expected: Option<u64>| {
            let age = Moment::parse(now).unwrap().since(Moment::parse(then).unwrap());
            assert_eq!(age, expected, "{then} at {now}");
        };
        check("2026-11-21 18:34:34.191", "18:34:31.660", Some(3));
        check("2026-11-21 00:00:10", "23:59:50.001", Some(20));
        check("2026-11-21 18:00:00", "2026-11-20", Some(86_400));
        check("2024-03-01 00:00:00", "2024-02-28 23:59:59", Some(86_401));
        check("2026-01-01 00:00:00", "1970-01-01 00:00:00", Some(20_454 * 86_400));
        check("2026-11-21 18:00:00", "2026-11-22 18:00:00", None);
        for nonsense in ["", "now", "18:34", "25:00:00", "2026-13-01", "1 2 3", "18:34:34.x", "+026-01-01"] {
            assert_eq!(Moment::parse(nonsense), None, "{nonsense}");
        }
    }
}
