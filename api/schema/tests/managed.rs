//! Who says what, through the lives of objects: appliers and updaters that share, take, give up and lose fields.
#![allow(clippy::unwrap_used)]

use kontiki_schema::managed::last_applied::{ANNOTATION, configuration_text};
use kontiki_schema::managed::scale::{self, Replicas};
use kontiki_schema::managed::{FieldManager, ManagedFields, Reach};
use kontiki_schema::{Schema, TypeId, builtin, ids};
use serde_json::{Value, json};

/// An object and its managers; every step takes a minute.
struct Life {
    id: TypeId,
    api_version: &'static str,
    object: Value,
    managed: ManagedFields,
    minute: usize,
    /// The last update renewed a time and nothing else.
    renewed: bool,
}

impl Life {
    fn new(id: TypeId, api_version: &'static str) -> Self {
        let mut object = Value::Null;
        builtin().canonical(id, &mut object);
        Life { id, api_version, object, managed: ManagedFields::default(), minute: 0, renewed: false }
    }

    fn config_map() -> Self {
        Life::new(ids::CORE_V1_CONFIGMAP, "v1")
    }

    fn deployment() -> Self {
        Life::new(ids::APPS_V1_DEPLOYMENT, "apps/v1")
    }

    fn manager<'a>(&self, subresource: &'a str, now: &'a str) -> FieldManager<'a> {
        let reach = match subresource {
            "" => Reach::AllBut(&[&["status"]]),
            _ => Reach::AllBut(&[&["spec"]]),
        };
        FieldManager {
            schema: Schema::builtin(self.id),
            api_version: self.api_version,
            subresource,
            reach,
            now,
            versions: &(),
        }
    }

    fn now(&mut self) -> String {
        self.minute += 1;
        format!("2026-01-01T00:{:02}:00Z", self.minute)
    }

    /// The conflicts, or whether the object changed.
    fn applied(&mut self, name: &str, config: &Value, force: bool) -> Result<bool, Vec<String>> {
        let now = self.now();
        builtin().check_config(self.id, config).unwrap();
        let manager = self.manager("", &now);
        let applied =
            manager.apply_or_take_over(&self.object, config, &self.managed, name, force).map_err(|conflicts| {
                conflicts.0.iter().map(|one| format!("{}: {}", one.manager, one.field())).collect::<Vec<_>>()
            })?;
        let changed = applied.object.is_some();
        if let Some(object) = applied.object {
            self.set(object);
        }
        self.managed = applied.managed;
        Ok(changed)
    }

    fn apply(&mut self, name: &str, config: Value) -> &mut Self {
        self.applied(name, &config, false).unwrap();
        self
    }

    fn force(&mut self, name: &str, config: Value) -> &mut Self {
        self.applied(name, &config, true).unwrap();
        self
    }

    fn refused(&mut self, name: &str, config: Value, expected: &[&str]) -> &mut Self {
        let before = (self.object.clone(), self.managed.clone());
        assert_eq!(self.applied(name, &config, false).unwrap_err(), expected);
        assert_eq!(before, (self.object.clone(), self.managed.clone()));
        self
    }

    fn update(&mut self, name: &str, subresource: &str, mut object: Value) -> &mut Self {
        let now = self.now();
        builtin().canonical(self.id, &mut object);
        let manager = self.manager(subresource, &now);
        let change = manager.change(&self.object, &object);
        let quick = self.managed.encode().and_then(|member| manager.renewed(&change, &member, name));
        manager.update(&change, &mut self.managed, name);
        assert!(quick.is_none() || quick == self.managed.encode());
        self.renewed = quick.is_some();
        self.set(object);
        self
    }

    fn set(&mut self, mut object: Value) {
        builtin().canonical(self.id, &mut object);
        self.object = object;
    }

    /// `manager operation subresource: fieldsV1`, in order.
    fn says(&mut self, expected: &[&str]) -> &mut Self {
        let entries = self.managed.encode().unwrap_or_default();
        let told: Vec<String> = entries.as_array().into_iter().flatten().map(told).collect();
        assert_eq!(told, expected);
        self
    }

    fn holds(&mut self, pointer: &str, expected: Value) -> &mut Self {
        assert_eq!(self.object.pointer(pointer).cloned().unwrap_or_default(), expected, "{:#}", self.object);
        self
    }
}

fn told(entry: &Value) -> String {
    let text = |member: &str| entry[member].as_str().unwrap_or_default();
    let subresource = if text("subresource").is_empty() { String::new() } else { format!("/{}", text("subresource")) };
    format!("{} {}{subresource} {}", text("manager"), text("operation"), entry["fieldsV1"])
}

fn data(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

fn containers(containers: Value) -> Value {
    json!({"spec": {"template": {"spec": {"containers": containers}}}})
}

#[test]
fn fields_are_shared_taken_given_up_and_lost() {
    Life::config_map()
        .apply("m1", data(json!({"x": "1", "y": "1"})))
        .says(&[r#"m1 Apply {"f:data":{"f:x":{},"f:y":{}}}"#])
        .apply("m2", data(json!({"z": "3"})))
        .refused("m2", data(json!({"x": "2"})), &["\"m1\": .data.x"])
        .refused("m2", data(json!({"x": "2", "y": "5"})), &["\"m1\": .data.x", "\"m1\": .data.y"])
        .apply("m2", data(json!({"x": "1", "z": "3"})))
        .apply("m1", data(json!({"y": "1"})))
        .holds("/data", json!({"x": "1", "y": "1", "z": "3"}))
        .says(&[r#"m1 Apply {"f:data":{"f:y":{}}}"#, r#"m2 Apply {"f:data":{"f:x":{},"f:z":{}}}"#])
        .force("m2", data(json!({"y": "9", "z": "3"})))
        .holds("/data", json!({"y": "9", "z": "3"}))
        .says(&[r#"m2 Apply {"f:data":{"f:y":{},"f:z":{}}}"#])
        .apply("m1", json!({}))
        .apply("m2", data(json!({"y": "9"})))
        .update("editor", "", data(json!({"y": "10", "u": "1"})))
        .says(&[r#"editor Update {"f:data":{"f:u":{},"f:y":{}}}"#])
        .refused("m2", data(json!({"y": "9"})), &["\"editor\" using v1: .data.y"])
        .update("patcher", "", data(json!({"y": "10", "u": "1", "w": "1"})))
        .update("patcher", "", data(json!({"y": "10", "w": "1"})))
        .says(&[r#"editor Update {"f:data":{"f:y":{}}}"#, r#"patcher Update {"f:data":{"f:w":{}}}"#]);
}

#[test]
fn applying_again_changes_nothing_and_keeps_the_time() {
    let mut life = Life::config_map();
    life.apply("m1", data(json!({"x": "1"}))).apply("m2", data(json!({"y": "1"})));
    let before = life.managed.encode();
    assert_eq!(life.applied("m1", &data(json!({"x": "1"})), false), Ok(false));
    assert_eq!(life.managed.encode(), before);
    // Sharing a field is no change of the object, but one of the managers.
    assert_eq!(life.applied("m2", &data(json!({"x": "1", "y": "1"})), false), Ok(false));
    assert_ne!(life.managed.encode(), before);
    assert_eq!(life.applied("m2", &data(json!({"x": "1", "y": "2"})), false), Ok(true));
    assert_eq!(life.managed.encode().unwrap()[1]["time"], "2026-01-01T00:05:00Z");
}

#[test]
fn who_creates_says_all_but_what_the_server_sets() {
    let object = json!({
        "metadata": {"name": "d", "namespace": "n", "uid": "u", "generation": 1, "labels": {"a": "1"}},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"a": "1"}},
            "template": {"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
        },
        "status": {"replicas": 3},
    });
    let status = json!({"status": {"replicas": 1}});
    let with_status = |status: &Value| {
        let mut object = object.clone();
        object["status"] = status["status"].clone();
        object
    };
    let spec = concat!(
        r#"{"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{"f:replicas":{},"f:selector":{},"#,
        r#""f:strategy":{"f:rollingUpdate":{".":{},"f:maxSurge":{}},"f:type":{}},"#,
        r#""f:template":{"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{"#,
        r#"".":{},"f:image":{},"f:name":{},"f:ports":{".":{},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{"#,
        r#"".":{},"f:containerPort":{},"f:protocol":{}}},"f:resources":{}}}}}}}"#,
    );
    let updater = format!("kubectl-create Update {spec}");
    Life::deployment()
        .update("kubectl-create", "", object.clone())
        .says(&[&updater])
        .update("controller", "status", with_status(&status))
        .says(&[&updater, r#"controller Update/status {"f:status":{"f:replicas":{}}}"#])
        .update("controller", "status", with_status(&json!({"status": {}})))
        .says(&[&updater]);
}

#[test]
fn saying_the_same_fields_again_renews_a_time() {
    let object = |x: &str, y: &str| data(json!({"x": x, "y": y}));
    let mut life = Life::config_map();
    let mut step = |name: &str, object: Value, renewed: bool| {
        life.update(name, "", object);
        assert_eq!(life.renewed, renewed, "{name}: {:?}", life.managed.encode());
    };
    step("a", object("1", "1"), false);
    step("a", object("2", "1"), true);
    step("b", object("2", "2"), false);
    step("b", object("2", "3"), true);
    // Behind b's, as it is the later one now.
    step("a", object("3", "3"), true);
    step("a", object("3", "4"), false);
    step("a", object("4", "5"), true);
    step("a", data(json!({"x": "4"})), false);
}

#[test]
fn containers_are_said_item_by_item() {
    Life::deployment()
        .apply("m1", containers(json!([{"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}], "ports": [{"containerPort": 80}]}])))
        .apply("m2", containers(json!([{"name": "b", "image": "b:1"}])))
        .apply("m3", containers(json!([{"name": "a", "env": [{"name": "Y", "value": "2"}]}])))
        .holds("/spec/template/spec/containers/0/env", json!([{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]))
        .refused(
            "m2",
            containers(json!([{"name": "a", "image": "z"}])),
            &["\"m1\": .spec.template.spec.containers[name=\"a\"].image"],
        )
        // Another protocol is another port, and TCP is the default.
        .apply("m4", containers(json!([{"name": "a", "ports": [{"containerPort": 80, "protocol": "UDP"}, {"containerPort": 80}]}])))
        .holds("/spec/template/spec/containers/0/ports", json!([{"containerPort": 80, "protocol": "UDP"}, {"containerPort": 80}]))
        .apply("m3", json!({}))
        .holds("/spec/template/spec/containers/0/env", json!([{"name": "X", "value": "1"}]))
        .apply("m2", containers(json!([])))
        .holds("/spec/template/spec/containers/1", json!(null))
        .apply("m1", json!({}))
        // What m4 says of the container holds it.
        .holds("/spec/template/spec/containers/0/name", json!("a"))
        .holds("/spec/template/spec/containers/0/image", json!(null))
        .apply("m4", json!({}))
        .holds("/spec/template/spec/containers", json!(null))
        .says(&[]);
}

#[test]
fn atomic_lists_and_selectors_are_one_field() {
    let args = |args: Value| containers(json!([{"name": "a", "args": args}]));
    Life::deployment()
        .apply("m1", args(json!(["1", "2"])))
        .refused("m2", args(json!(["1"])), &["\"m1\": .spec.template.spec.containers[name=\"a\"].args"])
        .force("m2", args(json!(["1"])))
        .holds("/spec/template/spec/containers/0/args", json!(["1"]))
        .apply("m1", json!({"spec": {"selector": {"matchLabels": {"a": "1"}}}}))
        .refused("m2", json!({"spec": {"selector": {"matchLabels": {"b": "1"}}}}), &["\"m1\": .spec.selector"]);
}

#[test]
fn sets_hold_what_anybody_puts_in() {
    let finalizers = |names: Value| json!({"metadata": {"finalizers": names}});
    Life::config_map()
        .apply("m1", finalizers(json!(["x/a"])))
        .apply("m2", finalizers(json!(["x/b", "x/a"])))
        .holds("/metadata/finalizers", json!(["x/b", "x/a"]))
        .says(&[
            r#"m1 Apply {"f:metadata":{"f:finalizers":{"v:\"x/a\"":{}}}}"#,
            r#"m2 Apply {"f:metadata":{"f:finalizers":{"v:\"x/a\"":{},"v:\"x/b\"":{}}}}"#,
        ])
        .apply("m2", finalizers(json!([])))
        .holds("/metadata/finalizers", json!(["x/a"]))
        .apply("m1", json!({}))
        .holds("/metadata/finalizers", json!(null));
}

#[test]
fn what_the_server_filled_in_goes_with_what_holds_it() {
    let mut life = Life::deployment();
    life.apply("m1", containers(json!([{"name": "a", "image": "i"}, {"name": "b", "image": "i"}])));
    let mut filled = life.object.clone();
    for container in filled["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap() {
        container["imagePullPolicy"] = "Always".into();
    }
    life.set(filled);
    life.apply("m1", containers(json!([{"name": "a"}])))
        .holds("/spec/template/spec/containers", json!([{"name": "a", "resources": {}, "imagePullPolicy": "Always"}]));
}

#[test]
fn what_nobody_kept_was_said_before_the_first_apply() {
    let mut life = Life::config_map();
    life.set(json!({"metadata": {"name": "a", "uid": "u"}, "data": {"x": "1", "y": "1"}}));
    life.refused("m1", data(json!({"x": "2"})), &["\"before-first-apply\" using v1: .data.x"])
        .apply("m1", data(json!({"x": "1"})))
        .says(&[
            r#"m1 Apply {"f:data":{"f:x":{}}}"#,
            r#"before-first-apply Update {"f:data":{".":{},"f:x":{},"f:y":{}}}"#,
        ]);
}

#[test]
fn nulls_and_empty_maps_are_said() {
    Life::config_map()
        .apply("m1", data(json!({"x": null})))
        .says(&[r#"m1 Apply {"f:data":{"f:x":{}}}"#])
        .apply("m2", json!({"metadata": {"labels": {}, "annotations": null}}))
        .says(&[r#"m1 Apply {"f:data":{"f:x":{}}}"#, r#"m2 Apply {"f:metadata":{"f:annotations":{},"f:labels":{}}}"#]);
}

#[test]
fn kubectl_takes_over_what_it_applied_on_its_own_side() {
    let config = data(json!({"x": "1", "y": "1"}));
    let text = configuration_text(config.clone());
    let mut live = config.clone();
    live["metadata"]["annotations"] = json!({ANNOTATION: text});
    let mut life = Life::config_map();
    life.update("kubectl-client-side-apply", "", live.clone());
    let taken = data(json!({"x": "2", "y": "1"}));
    // Only for kubectl.
    life.refused("other", taken.clone(), &["\"kubectl-client-side-apply\" using v1: .data.x"]);
    life.apply("kubectl", taken.clone()).holds("/data/x", json!("2"));
    let annotation = &life.object["metadata"]["annotations"][ANNOTATION];
    assert_eq!(*annotation, json!(configuration_text(taken.clone())));
    // Not what somebody else has changed meanwhile.
    live["data"] = json!({"x": "2", "y": "5"});
    live["metadata"]["annotations"] = json!({ANNOTATION: configuration_text(taken)});
    life.update("editor", "", live);
    life.refused("kubectl", data(json!({"x": "3", "y": "1"})), &["\"editor\" using v1: .data.y"]);
}

#[test]
fn replicas_pass_between_an_object_and_its_scale() {
    let mut life = Life::deployment();
    life.apply("m1", json!({"spec": {"replicas": 1, "minReadySeconds": 5}}));
    let replicas = Replicas { api_version: "apps/v1", path: &["spec", "replicas"] };
    let id = ids::AUTOSCALING_V1_SCALE;
    let scaled = |life: &mut Life, name: &str, before: i64, after: i64| {
        let scale = |replicas: i64| {
            let mut scale = json!({"spec": {"replicas": replicas}});
            builtin().canonical(id, &mut scale);
            scale
        };
        let now = life.now();
        let (api_version, subresource) = (scale::API_VERSION, "scale");
        let manager = FieldManager {
            schema: Schema::builtin(id),
            api_version,
            subresource,
            reach: Reach::ALL,
            now: &now,
            versions: &(),
        };
        let mut managed = replicas.to_scale(&life.managed);
        let (old, new) = (scale(before), scale(after));
        manager.update(&manager.change(&old, &new), &mut managed, name);
        life.managed = replicas.to_object(&life.managed, &managed);
        life.object["spec"]["replicas"] = after.into();
    };
    scaled(&mut life, "scaler", 1, 1);
    life.says(&[r#"m1 Apply {"f:spec":{"f:minReadySeconds":{},"f:replicas":{}}}"#]);
    scaled(&mut life, "scaler", 1, 2);
    life.says(&[
        r#"m1 Apply {"f:spec":{"f:minReadySeconds":{}}}"#,
        r#"scaler Update/scale {"f:spec":{"f:replicas":{}}}"#,
    ]);
    scaled(&mut life, "scaler", 2, 3);
    life.says(&[
        r#"m1 Apply {"f:spec":{"f:minReadySeconds":{}}}"#,
        r#"scaler Update/scale {"f:spec":{"f:replicas":{}}}"#,
    ]);
    life.refused(
        "m1",
        json!({"spec": {"replicas": 1}}),
        &["\"scaler\" with subresource \"scale\" using apps/v1: .spec.replicas"],
    );
}
