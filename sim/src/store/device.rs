//! A simulated device: plain data, chance and time handed in.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{Rng, RngExt as _};
use twin_core::ids::TwinId;
use twin_core::numbers::Version;
use twin_core::path::Path;
use twin_core::value::{Number, Value};

use crate::limits::{APPLY_DELAY_MAX, APPLY_DELAY_MIN};

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A shelf label: shows a price.
    Label,
    /// A thermometer in a shelf.
    Sensor,
    /// A screen.
    Screen,
}

impl Kind {
    /// How its devices' names begin.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Sensor => "sensor",
            Self::Screen => "screen",
        }
    }
}

/// What a device says about a desired change, once it has thought about it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It reports what it now shows: the change is applied where it is equal.
    Shows(Value),
    /// It acknowledges the version.
    Acks(Version),
    /// It will not have it.
    Rejects { path: Path, version: Version, reason: &'static str },
}

/// A simulated device.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    id: TwinId,
    kind: Kind,
    temperature_c: f64,
    battery_percent: f64,
    told_battery_low: bool,
    shown: i64,
    /// A verdict and when it is due: e-paper takes its time. A newer change takes the older one's place.
    thinking: Option<(Duration, Verdict)>,
}

impl Device {
    pub(crate) fn new(id: TwinId, kind: Kind, rng: &mut impl Rng) -> Self {
        Self {
            id,
            kind,
            temperature_c: rng.random_range(2.0..22.0),
            battery_percent: rng.random_range(20.0..100.0),
            told_battery_low: false,
            shown: rng.random_range(0..10_000),
            thinking: None,
        }
    }

    pub(crate) fn id(&self) -> &TwinId {
        &self.id
    }

    /// What it measures next: a merge patch.
    pub(crate) fn measure(&mut self, rng: &mut impl Rng) -> Value {
        self.battery_percent = (self.battery_percent - rng.random_range(0.0..0.02)).max(0.0);
        let signal_dbm = Value::from(-rng.random_range(45_i64..90));
        let battery = tenths(self.battery_percent);
        match self.kind {
            Kind::Label => object([("battery", battery), ("signal", signal_dbm)]),
            Kind::Sensor => {
                // A walk that is drawn back to the shelf's 7 degrees.
                let step = rng.random_range(-0.3..0.3);
                self.temperature_c += step + (7.0 - self.temperature_c) * 0.01;
                object([("temperature", tenths(self.temperature_c)), ("battery", battery), ("signal", signal_dbm)])
            }
            Kind::Screen => {
                self.shown += 1;
                object([("shown", Value::from(self.shown)), ("signal", signal_dbm)])
            }
        }
    }

    /// An event, now and then: its name and payload.
    pub(crate) fn happens(&mut self, rng: &mut impl Rng) -> (&'static str, Value) {
        if self.battery_percent < 21.0 && !self.told_battery_low {
            self.told_battery_low = true;
            return ("battery-low", object([("percent", tenths(self.battery_percent))]));
        }
        match self.kind {
            Kind::Label => ("button-pressed", object([("button", Value::from(rng.random_range(1_i64..=2)))])),
            Kind::Sensor => ("door-opened", object([("seconds", Value::from(rng.random_range(3_i64..40)))])),
            Kind::Screen => ("touched", object([("x", Value::from(rng.random_range(0_i64..1920)))])),
        }
    }

    /// The back office desires something. The verdict comes after a moment.
    pub(crate) fn desired(&mut self, desired: &Value, version: Version, now: Duration, rng: &mut impl Rng) {
        let delay = rng.random_range(APPLY_DELAY_MIN..APPLY_DELAY_MAX);
        self.thinking = Some((now + delay, self.verdict(desired, version)));
    }

    fn verdict(&self, desired: &Value, version: Version) -> Verdict {
        let price = desired.as_object().and_then(|members| members.get("price"));
        match (self.kind, price) {
            (Kind::Label, Some(price)) => match price {
                Value::Number(number) if as_f64(*number) < 0.0 => {
                    Verdict::Rejects { path: Path::from_keys(["price"]), version, reason: "a price below zero" }
                }
                Value::Number(_) if self.acks() => Verdict::Acks(version),
                Value::Number(_) => Verdict::Shows(object([("price", price.clone())])),
                _ => Verdict::Rejects { path: Path::from_keys(["price"]), version, reason: "not a number" },
            },
            _ => Verdict::Acks(version),
        }
    }

    /// One label in five is of a make that says "done" rather than what it shows.
    fn acks(&self) -> bool {
        self.id.as_str().ends_with(['0', '5'])
    }

    /// When it says something about a desired change.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.thinking.as_ref().map(|(due, _)| *due)
    }

    /// What it says, if it is time.
    pub(crate) fn speak(&mut self, now: Duration) -> Option<Verdict> {
        if self.due()? > now {
            return None;
        }
        self.thinking.take().map(|(_, verdict)| verdict)
    }

    /// It is asked to make itself seen.
    pub(crate) fn blink(&self) -> (u16, Value) {
        match self.kind {
            Kind::Sensor => (501, object([("error", Value::from("a sensor has no light"))])),
            Kind::Label | Kind::Screen => (200, object([("blinked", Value::from(3_i64))])),
        }
    }

    /// It is asked what it is.
    pub(crate) fn identify(&self) -> (u16, Value) {
        (200, object([("device", Value::from(self.id.as_str())), ("kind", Value::from(self.kind.name()))]))
    }
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(BTreeMap::from(members.map(|(key, value)| (key.into(), value))))
}

fn tenths(float: f64) -> Value {
    Value::from((float * 10.0).round() / 10.0)
}

fn as_f64(number: Number) -> f64 {
    match number {
        Number::Integer(integer) => integer as f64,
        Number::Float(float) => float,
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::SmallRng;

    use super::*;

    const NOW: Duration = Duration::from_secs(10);

    fn label(name: &str) -> (Device, SmallRng) {
        let mut rng = SmallRng::seed_from_u64(1);
        (Device::new(TwinId::new(name).unwrap(), Kind::Label, &mut rng), rng)
    }

    fn verdict_on(name: &str, price: Value) -> Verdict {
        let (mut device, mut rng) = label(name);
        device.desired(&object([("price", price)]), Version::new(2), NOW, &mut rng);
        assert_eq!(device.speak(NOW), None, "e-paper takes its time");
        device.speak(NOW + APPLY_DELAY_MAX).unwrap()
    }

    #[test]
    fn a_label_shows_its_price_or_acks_it_and_rejects_one_below_zero() {
        assert_eq!(verdict_on("label-1", Value::from(1.5)), Verdict::Shows(object([("price", Value::from(1.5))])));
        assert_eq!(verdict_on("label-5", Value::from(1.5)), Verdict::Acks(Version::new(2)));
        assert!(matches!(verdict_on("label-1", Value::from(-1)), Verdict::Rejects { .. }));
        assert!(matches!(verdict_on("label-5", Value::from("cheap")), Verdict::Rejects { .. }));
    }

    #[test]
    fn a_newer_price_takes_the_place_of_one_not_shown_yet() {
        let (mut device, mut rng) = label("label-1");
        device.desired(&object([("price", Value::from(1))]), Version::new(2), NOW, &mut rng);
        device.desired(&object([("price", Value::from(2))]), Version::new(3), NOW, &mut rng);
        let late = NOW + APPLY_DELAY_MAX;
        assert_eq!(device.speak(late), Some(Verdict::Shows(object([("price", Value::from(2))]))));
        assert_eq!(device.speak(late), None);
    }

    #[test]
    fn one_seed_makes_one_life() {
        let life = || {
            let (mut device, mut rng) = label("label-1");
            (0..50).map(|_| device.measure(&mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(life(), life());
    }
}
