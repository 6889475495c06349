//! What objects look like to expressions: a schema as the types that they are checked against.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kontiki_cel::{Bound, FieldType, ObjectType, Type, escape};

use crate::ids;
use crate::schema::Schema;
use crate::table::{Form, Item, Shape, Table, TypeId, builtin};

impl Schema<'_> {
    /// The type of the objects. What a schema leaves open, and what contains itself, is anything.
    pub fn declared(&self) -> Type {
        match self.structural() {
            Some(structural) => with_metadata(structural.declared()),
            None => Declaring { table: self.table, known: HashMap::new() }.of(self.id),
        }
    }
}

/// Rules of a definition see little of the metadata, others all of it.
fn with_metadata(declared: Type) -> Type {
    let Type::Object(object) = &declared else { return declared };
    let mut object = (**object).clone();
    let metadata = Declaring { table: builtin(), known: HashMap::new() }.of(ids::META_V1_OBJECTMETA);
    let field = FieldType { json: "metadata".to_owned(), r#type: metadata, bound: Bound::default() };
    object.fields.insert("metadata".to_owned(), field);
    Type::Object(Arc::new(object))
}

struct Declaring<'a> {
    table: &'a Table,
    /// What was declared, and what is being declared.
    known: HashMap<TypeId, Option<Type>>,
}

impl Declaring<'_> {
    fn of(&mut self, id: TypeId) -> Type {
        match self.known.get(&id) {
            Some(Some(known)) => return known.clone(),
            Some(None) => return Type::Dyn,
            None => {}
        }
        self.known.insert(id, None);
        let declared = match self.table.get(id).form {
            Form::Struct => self.object(id),
            Form::Time | Form::MicroTime => Type::Timestamp,
            Form::Duration => Type::String,
            Form::StringList => Type::list(Type::String),
            Form::Quantity
            | Form::IntOrString
            | Form::RawExtension
            | Form::FieldsV1
            | Form::Json
            | Form::SchemaOrArray
            | Form::SchemaOrBool
            | Form::SchemaOrStringArray => Type::Dyn,
        };
        self.known.insert(id, Some(declared.clone()));
        declared
    }

    fn object(&mut self, id: TypeId) -> Type {
        let table = self.table;
        let kind = table.get(id);
        if kind.preserve_unknown {
            return Type::Dyn;
        }
        let mut fields = BTreeMap::new();
        let mut add = |json: &str, r#type: Type| {
            if let Some(name) = escape(json) {
                fields.insert(name, FieldType { json: json.to_owned(), r#type, bound: Bound::default() });
            }
        };
        if kind.type_meta {
            add("kind", Type::String);
            add("apiVersion", Type::String);
        }
        for field in table.flat_fields(id) {
            let declared = match field.shape {
                Shape::One(item) => self.item(item),
                Shape::List(item) => Type::list(self.item(item)),
                Shape::Map(item) => Type::map(Type::String, self.item(item)),
            };
            add(&field.json, declared);
        }
        Type::Object(Arc::new(ObjectType { name: kind.name.to_string(), fields }))
    }

    fn item(&mut self, item: Item) -> Type {
        match item {
            Item::String => Type::String,
            Item::Bool => Type::Bool,
            Item::Int32 | Item::Int64 => Type::Int,
            Item::Double => Type::Double,
            Item::Bytes => Type::Bytes,
            Item::Any => Type::Dyn,
            Item::Of(id) => self.of(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use kontiki_cel::{Environment, compile};

    use super::*;

    #[test]
    fn built_in_types_are_declared() {
        let checked = |id: TypeId, text: &str| {
            let environment = Environment::default().with("object", Schema::builtin(id).declared(), Bound::default());
            compile(text, &environment).map(|program| program.result().to_string())
        };
        let bool = |text: &str| assert_eq!(checked(ids::APPS_V1_DEPLOYMENT, text), Ok("bool".to_owned()), "{text}");
        bool("object.spec.replicas > 1 && object.kind == 'Deployment'");
        bool("object.spec.template.spec.containers.all(c, c.image.startsWith('a') && 'cpu' in c.resources.limits)");
        bool("object.metadata.labels['a'] == 'b' && object.spec.template.spec.nodeSelector.size() == 0");
        bool("object.metadata.creationTimestamp > timestamp('2026-01-01T00:00:00Z')");
        let wrong = checked(ids::APPS_V1_DEPLOYMENT, "object.spec.replicas > '1'").unwrap_err();
        assert!(wrong.contains("found no matching overload for '_>_' applied to '(int, string)'"), "{wrong}");
        let wrong = checked(ids::APPS_V1_DEPLOYMENT, "object.spec.replica == 1").unwrap_err();
        assert!(wrong.contains("undefined field 'replica'"), "{wrong}");
    }
}
