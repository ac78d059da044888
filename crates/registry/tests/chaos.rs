//! Faults of all kinds in orders that nobody has thought of: what arrives is right, or there is an error, and it ends.

use std::time::Duration;

use galley_oci::Digest;
use galley_testkit::registry::{Auth, Fault, Lifetime, Registry, Rule, TokenAuth};

use crate::support::{Machine, assert_no_secret, fetch, noise, reference, timed, upload};

const ROUNDS: u64 = 40;
const BYTES: u64 = 60_000;

/// The same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn fault(&mut self) -> Fault {
        let after = self.below(BYTES);
        match self.below(20) {
            0 => Fault::status([400, 401, 403, 404, 405, 416][usize::try_from(self.below(6)).unwrap()]),
            1 | 2 => Fault::status([408, 500, 502, 503][usize::try_from(self.below(4)).unwrap()]),
            3 => Fault::too_many("0"),
            4..=6 => Fault::Cut { after, reset: self.below(2) == 0 },
            7 => Fault::Chunked { after },
            8 => Fault::Stall { after },
            9 | 10 => Fault::CutUpload { after, keep: self.below(2) == 0 },
            11 => Fault::PartialPatch(after),
            12 => Fault::LoseUpload,
            13 => Fault::NoAnswer,
            14 => Fault::Reset,
            15 => Fault::IgnoreRange,
            16 => Fault::Corrupt,
            17 => Fault::LengthOff(i64::try_from(self.below(9)).unwrap() - 4),
            18 => Fault::html(),
            _ => Fault::None,
        }
    }
}

/// A registry with tokens that end soon, and a few faults to come.
fn troubled(seed: u64) -> Registry {
    let auth = TokenAuth { lifetime: Lifetime::Requests(3), ..TokenAuth::default() };
    let registry = Registry::builder().auth(Auth::Token(auth)).start();
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for _ in 0..dice.below(8) {
        let rule = Rule::on("*", "/v2/library/app/*", dice.fault());
        registry.inject(rule.skip(usize::try_from(dice.below(3)).unwrap()));
    }
    registry
}

fn machine(registry: &Registry) -> Machine {
    Machine::new().logged_in(&[registry]).limits(|limits| {
        limits.stall = Duration::from_millis(100);
        limits.response = Duration::from_millis(300);
        limits.slow_window = Duration::from_millis(300);
        limits.upload_chunk_bytes = Some(25_000);
    })
}

#[test]
fn downloads() {
    let bytes = noise(usize::try_from(BYTES).unwrap());
    let mut arrived = 0;
    for seed in 0..ROUNDS {
        let registry = troubled(seed);
        let blob = registry.put_blob("library/app", &bytes);
        let client = machine(&registry).client();
        let (result, time) = timed(|| fetch(&client, &reference(&registry, "library/app"), &blob));
        assert!(time < Duration::from_secs(60), "seed {seed} took {time:?}");
        match result {
            Ok(found) => {
                assert!(found == bytes, "seed {seed}");
                arrived += 1;
            }
            Err(error) => assert_no_secret(&error),
        }
        registry.heal();
        assert!(fetch(&client, &reference(&registry, "library/app"), &blob).is_ok(), "seed {seed}, later");
    }
    assert!(arrived > ROUNDS / 3, "{arrived} of {ROUNDS}");
}

#[test]
fn uploads() {
    let bytes = noise(usize::try_from(BYTES).unwrap());
    let digest = Digest::sha256(&bytes);
    let mut arrived = 0;
    for seed in 0..ROUNDS {
        let registry = troubled(seed);
        let client = machine(&registry).client();
        let app = reference(&registry, "library/app");
        let (result, time) = timed(|| upload(&client, &app, &bytes));
        assert!(time < Duration::from_secs(60), "seed {seed} took {time:?}");
        match result {
            Ok(done) => {
                assert!(
                    registry.blob("library/app", &digest).is_some_and(|stored| stored == bytes),
                    "seed {seed}: {done:?}"
                );
                arrived += 1;
            }
            Err(error) => assert_no_secret(&error),
        }
        registry.heal();
        upload(&client, &app, &bytes).unwrap();
        assert!(registry.blob("library/app", &digest).is_some(), "seed {seed}, later");
    }
    assert!(arrived > ROUNDS / 3, "{arrived} of {ROUNDS}");
}
