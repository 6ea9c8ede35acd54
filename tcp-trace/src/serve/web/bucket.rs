//! How many requests are let in: a bucket of tokens, one more every so often.

use std::{sync::Mutex, time::Duration};

use tokio::time::Instant;

use super::{document::Rate, error::Problem};
use crate::serve::span;

/// The bucket.
#[derive(Debug)]
pub(in crate::serve) struct Bucket {
    interval: Duration,
    burst: u32,
    /// Tokens left at that time.
    left: Mutex<(f64, Instant)>,
}

impl Bucket {
    /// As the file says it; no interval is no limit.
    pub(super) fn new(rate: &Rate) -> Result<Option<Self>, Problem> {
        let interval = match rate.interval.as_str() {
            "" => Duration::ZERO,
            text => span::parse(text).ok_or_else(|| {
                Problem::field("rate_limit.interval", format!("it takes {}", span::ACCEPTED))
            })?,
        };
        let burst = u32::try_from(rate.burst)
            .map_err(|_| Problem::field("rate_limit.burst", "it takes a number from 0 on"))?;
        if interval.is_zero() {
            return Ok(None);
        }
        if burst == 0 {
            let problem = "with an interval it must be 1 at least, or nothing is ever let in";
            return Err(Problem::field("rate_limit.burst", problem));
        }
        let left = Mutex::new((f64::from(burst), Instant::now()));
        Ok(Some(Self { interval, burst, left }))
    }

    /// Takes a token, if there is one.
    pub(in crate::serve) fn take(&self) -> bool {
        let mut left = self.left.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = Instant::now();
        let (tokens, then) = *left;
        let more = now.saturating_duration_since(then).div_duration_f64(self.interval);
        let tokens = (tokens + more).min(f64::from(self.burst));
        let taken = tokens >= 1.0;
        *left = (if taken { tokens - 1.0 } else { tokens }, now);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(interval: &str, burst: i64) -> Result<Option<Bucket>, Problem> {
        Bucket::new(&Rate { interval: interval.to_owned(), burst })
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_and_then_one_at_a_time() {
        let bucket = bucket("100ms", 3).unwrap().unwrap();
        let taken = |n: usize| (0..n).filter(|_| bucket.take()).count();
        assert_eq!(taken(10), 3);
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(taken(10), 1);
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(taken(10), 3);
    }

    #[tokio::test]
    async fn nonsense_is_refused_and_nothing_is_no_limit() {
        assert!(bucket("", 0).unwrap().is_none());
        assert!(bucket("0s", 5).unwrap().is_none());
        assert!(bucket("1s", 0).is_err());
        assert!(bucket("1s", -1).is_err());
        assert!(bucket("soon", 1).is_err());
    }
}
