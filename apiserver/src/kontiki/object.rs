//! A struct in a body is a JSON object. serde would take an array too, for its fields in a row.

use std::{any::type_name, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

#[derive(Clone, Copy, Debug, Default)]
pub struct Object<T>(pub T);

struct Members<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Members(PhantomData))
    }
}

/// Why JSON was not read, without the place that serde adds.
pub fn why(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(why, _)| why).to_owned()
}

/// As Go's decoder words it.
fn refused<T, E: Error>(word: &str) -> E {
    let name = type_name::<T>().rsplit("::").next().unwrap_or_default();
    E::custom(format!("json: cannot unmarshal {word} into Go value of type v1.{name}"))
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = Object<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members)).map(Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Object<T>, A::Error> {
        Err(refused::<T, _>("array"))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Object<T>, E> {
        Err(refused::<T, _>("string"))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Object<T>, E> {
        Err(refused::<T, _>("bool"))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Object<T>, E> {
        Err(refused::<T, _>("number"))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Object<T>, E> {
        Err(refused::<T, _>("number"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Object<T>, E> {
        Err(refused::<T, _>("number"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Place {
        x: u8,
        #[serde(default)]
        next: Option<Object<Inner>>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        raw: Box<RawValue>,
    }

    #[test]
    fn objects_alone_are_taken() {
        let read = |text: &str| serde_json::from_str::<Object<Place>>(text).map(|Object(place)| place);
        let place = read(r#"{"x": 1, "next": {"raw": 1.50}}"#).unwrap();
        assert_eq!((place.x, place.next.unwrap().0.raw.get()), (1, "1.50"));
        assert!(read(r#"{"x": 1, "next": null}"#).unwrap().next.is_none());
        for (text, word, name) in [
            ("[1]", "array", "Place"),
            ("\"1\"", "string", "Place"),
            ("-1", "number", "Place"),
            ("true", "bool", "Place"),
            (r#"{"x": 1, "next": [2]}"#, "array", "Inner"),
        ] {
            let expected = format!("json: cannot unmarshal {word} into Go value of type v1.{name}");
            assert_eq!(why(&read(text).unwrap_err()), expected);
        }
    }
}
