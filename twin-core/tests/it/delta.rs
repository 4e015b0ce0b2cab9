use proptest::prelude::*;
use twin_core::delta::Desired;
use twin_core::merge::apply_ops;
use twin_core::numbers::{Version, WallTime};
use twin_core::value::Value;

use crate::arbitrary::ops;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn for_any_history_and_any_version_the_delta_gives_the_current_value(
        history in prop::collection::vec((ops(), any::<bool>()), 1..30),
        first in 1u64..5,
    ) {
        let mut desired = Desired::new(Version::new(first), WallTime::new(0));
        let mut known = vec![(desired.section().version(), Value::empty_object())];
        for (ops, reload) in history {
            if desired.apply(ops, WallTime::new(0)).unwrap().is_some() {
                known.push((desired.section().version(), desired.section().to_value()));
            }
            if reload {
                desired = rmp_serde::from_slice(&rmp_serde::to_vec(&desired).unwrap()).unwrap();
            }
            for (version, value) in &known {
                let delta = desired.delta(*version);
                prop_assert_eq!(delta.to, desired.section().version());
                let mut at_gateway = value.clone();
                apply_ops(&mut at_gateway, delta.ops);
                prop_assert_eq!(&at_gateway, &desired.section().to_value(), "from {}", version);
            }
            // Somebody who knows nothing true gets a snapshot, which mends anything.
            let mut wrong = Value::from("wrong");
            let delta = desired.delta(desired.section().version().next());
            prop_assert!(delta.snapshot);
            apply_ops(&mut wrong, delta.ops);
            prop_assert_eq!(wrong, desired.section().to_value());
        }
    }
}
