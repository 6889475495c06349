//! What is printed parses back to the same thing, whatever it is.

use kontiki_model::{FieldSelector, LabelSelector, Quantity};
use proptest::prelude::*;

fn parse(text: &str) -> Quantity {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

proptest! {
    #[test]
    fn quantities(number in -1_000_000_000_000i64..1_000_000_000_000, suffix in "(n|u|m|k|M|G|Ki|Mi|Gi|Ti|e3|e-3|E2)?") {
        let quantity = parse(&format!("{number}{suffix}"));
        prop_assert_eq!(&parse(&quantity.to_string()), &quantity);
        let rounded = quantity.rounded_to_milli();
        prop_assert_eq!(&parse(&rounded.to_string()), &rounded);
        let away = if quantity.is_negative() { rounded <= quantity } else { rounded >= quantity };
        prop_assert!(away, "rounds away from zero");
        prop_assert_eq!(rounded.milli_value(), quantity.milli_value());
        prop_assert_eq!(quantity.add(&quantity).sub(&quantity), quantity);
    }

    #[test]
    fn quantities_never_panic(text in "[-+]?[0-9.]{0,40}[a-zA-Z0-9+-]{0,12}") {
        if let Ok(quantity) = text.parse::<Quantity>() {
            let _ = (quantity.to_string(), quantity.rounded_to_milli().to_string(), quantity.value(), quantity.milli_value());
        }
    }

    #[test]
    fn label_selectors(text in "[ab!=(),<> 1in]{0,16}") {
        if let Ok(selector) = LabelSelector::parse(&text) {
            let printed = selector.to_string();
            prop_assert_eq!(LabelSelector::parse(&printed), Ok(selector), "{}", printed);
        }
    }

    #[test]
    fn field_selectors(text in r"[ab.=!,\\]{0,16}") {
        if let Ok(selector) = FieldSelector::parse(&text) {
            prop_assert_eq!(FieldSelector::parse(&selector.to_string()), Ok(selector));
        }
    }
}
