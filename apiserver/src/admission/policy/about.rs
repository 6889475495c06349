//! A request as policies are asked about it: whether rules are about it, and what their expressions see of it.

use kontiki_cel::{Authorizer, Question};
use kontiki_model::Key;
use serde_json::Value;

use super::{
    asking::Asking,
    expressions::{Conditions, Input},
};
use crate::{
    admission::{
        Attributes,
        matching::{Asked, Criteria, Objects},
        namespace::NAMESPACES,
        request::Request,
        webhooks,
    },
    failure,
    rest::{Refusal, object, read_failed},
};

pub(crate) struct About<'a> {
    pub attributes: &'a Attributes<'a>,
    pub request: &'a Request<'a>,
    asked: Asked<'a>,
}

/// A request in one of its forms, with what else expressions see.
pub(crate) struct Scene<'a> {
    pub object: Value,
    pub old_object: Value,
    request: Value,
    namespace: Value,
    authorizer: Asking<'a>,
    question: Question,
}

impl<'a> About<'a> {
    pub fn new(attributes: &'a Attributes<'a>, request: &'a Request<'a>, asked: Asked<'a>) -> Self {
        About { attributes, request, asked }
    }

    /// The form under which the criteria are about the request. The error says why that cannot be told.
    pub fn found(&self, criteria: &Criteria, objects: Objects<'_>) -> Result<Option<usize>, String> {
        let namespace = self.request.namespace();
        let labels = || match self.attributes.view.head(&Key::new(NAMESPACES.resource, "", namespace)) {
            Some((_, head)) => Ok(head.labels.clone()),
            None => Err(failure::not_found(NAMESPACES, namespace).message),
        };
        criteria.matches(&self.asked, objects, labels)
    }

    /// What expressions see of the request in a form. The inner error says why an object has none.
    pub async fn scene(&self, form: usize, objects: Objects<'_>) -> Result<Result<Scene<'a>, String>, Refusal> {
        let Attributes { call, identity, kind, subresource, namespace, name, .. } = *self.attributes;
        let shown = async |object: Option<&Value>| match object {
            Some(object) => self.shown(form, object).await,
            None => Ok(Value::Null),
        };
        let (object, old_object) = match (shown(objects.new).await, shown(objects.old).await) {
            (Ok(object), Ok(old_object)) => (object, old_object),
            (Err(why), _) | (_, Err(why)) => return Ok(Err(why)),
        };
        let question = Question {
            group: kind.group.to_owned(),
            resource: kind.resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Question::default()
        };
        let request = webhooks::told(self.attributes, self.request, form)?;
        let namespace = self.namespace_object()?;
        let authorizer = Asking { core: call.core, identity };
        Ok(Ok(Scene { object, old_object, request, namespace, authorizer, question }))
    }

    /// Whether the conditions of a webhook hold. The inner error says why that cannot be told.
    pub async fn holds(
        &self,
        conditions: &Result<Conditions, String>,
        form: usize,
        objects: Objects<'_>,
    ) -> Result<Result<bool, String>, Refusal> {
        let conditions = match conditions {
            Ok(conditions) if conditions.is_empty() => return Ok(Ok(true)),
            Ok(conditions) => conditions,
            Err(why) => return Ok(Err(why.clone())),
        };
        let scene = self.scene(form, objects).await?;
        Ok(scene.and_then(|scene| conditions.hold(scene.input(&Value::Null))))
    }

    async fn shown(&self, form: usize, object: &Value) -> Result<Value, String> {
        self.request.shown(form, object).await.map_err(|refusal| told(refusal, self.attributes))
    }

    /// The namespace of the request as an object; null where it is in none.
    fn namespace_object(&self) -> Result<Value, Refusal> {
        let Attributes { namespace, view, .. } = *self.attributes;
        if namespace.is_empty() {
            return Ok(Value::Null);
        }
        let stored = view.get(&Key::new(NAMESPACES.resource, "", namespace)).map_err(|error| read_failed(&error))?;
        match stored {
            Some(stored) => Ok(object::open(&stored)?),
            None => Err(Refusal::Judged(failure::not_found(NAMESPACES, namespace))),
        }
    }
}

impl Scene<'_> {
    /// What expressions see, with parameters.
    pub fn input<'s>(&'s self, params: &'s Value) -> Input<'s> {
        Input {
            object: &self.object,
            old_object: &self.old_object,
            request: &self.request,
            params,
            namespace: &self.namespace,
            authorizer: &self.authorizer as &dyn Authorizer,
            asked: &self.question,
        }
    }
}

/// What a refusal says.
pub(super) fn told(refusal: Refusal, attributes: &Attributes<'_>) -> String {
    match refusal {
        Refusal::Final(status) | Refusal::Judged(status) => status.message,
        Refusal::Raced => attributes.call.modified(attributes.name).message,
    }
}
