//! What one write needs to see of its object in other versions than its own, to know who says what. That is found out on the way:
//! what is asked for and not there is made, and then all is looked at again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kontiki_kinds::KindRef;
use kontiki_model::Status;
use serde_json::Value;

use super::in_version;
use crate::{
    Core, failure,
    rest::{limits::FORMS_MAX, object},
};

#[derive(Debug, Default)]
pub struct Forms {
    forms: Mutex<Vec<Form>>,
}

/// An object, and what it is in the version of a kind.
#[derive(Debug)]
struct Form {
    object: Value,
    kind: KindRef,
    told: Told,
}

#[derive(Debug)]
enum Told {
    Wanted,
    As(Value),
    /// Nobody could say.
    Unknown,
}

impl Forms {
    /// An object in the version of a kind; an empty one for as long as that is not known.
    pub fn told(&self, kind: &KindRef, object: Value) -> Value {
        let mut forms = self.lock();
        let is = |form: &&Form| form.kind.version == kind.version && form.object == object;
        match forms.iter().find(is).map(|form| &form.told) {
            Some(Told::As(told)) => return told.clone(),
            Some(Told::Wanted | Told::Unknown) => {}
            None => forms.push(Form { object, kind: kind.clone(), told: Told::Wanted }),
        }
        object::empty(kind)
    }

    /// Makes what was asked for; says whether there was any. What fails is unknown from then on.
    pub async fn learn(&self, core: &Core) -> Result<bool, Status> {
        let (wanted, length) = {
            let forms = self.lock();
            let wanted = forms.iter().enumerate().filter(|(_, form)| matches!(form.told, Told::Wanted));
            let wanted = wanted.map(|(place, form)| (place, form.kind.clone(), form.object.clone()));
            (wanted.collect::<Vec<_>>(), forms.len())
        };
        let is_some = !wanted.is_empty();
        let mut outcome = Ok(is_some);
        for (place, kind, object) in wanted {
            let told = match length > FORMS_MAX {
                true => Err(failure::internal("an object has too many forms")),
                false => in_version(core, &kind, object).await,
            };
            let told = match told {
                Ok(told) => Told::As(told),
                Err(status) => {
                    outcome = Err(status);
                    Told::Unknown
                }
            };
            self.lock()[place].told = told;
        }
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Form>> {
        self.forms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
