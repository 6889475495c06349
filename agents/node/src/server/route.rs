//! From a method and a path to what is asked. Pure; the names in it are checked by looking them up.

use http::Method;
use percent_encoding::percent_decode_str;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Open to everybody.
    Health,
    Pods,
    Metrics,
    Resource,
    Cadvisor,
    Probes,
    Summary,
    ListImages,
    ImportImage,
    RemoveImage,
    Logs(ContainerName),
    Exec(ContainerName),
    Attach(ContainerName),
    PortForward(PodName),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodName {
    pub namespace: String,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerName {
    pub pod: PodName,
    pub container: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute {
    Path,
    Method,
}

pub fn route(method: &Method, path: &str) -> Result<Route, NoRoute> {
    let decoded: Result<Vec<_>, _> =
        path.split('/').skip(1).map(|segment| percent_decode_str(segment).decode_utf8()).collect();
    let decoded = decoded.map_err(|_| NoRoute::Path)?;
    let segments: Vec<&str> = decoded.iter().map(|segment| segment.as_ref()).collect();
    let (read, stream) = (&[Method::GET, Method::HEAD][..], &[Method::GET, Method::POST][..]);
    let (route, methods) = match segments[..] {
        ["healthz"] => (Route::Health, read),
        ["pods"] => (Route::Pods, read),
        ["metrics"] => (Route::Metrics, read),
        ["metrics", "resource"] => (Route::Resource, read),
        ["metrics", "cadvisor"] => (Route::Cadvisor, read),
        ["metrics", "probes"] => (Route::Probes, read),
        ["stats", "summary"] => (Route::Summary, read),
        ["images"] => match *method {
            Method::POST => (Route::ImportImage, &[Method::POST][..]),
            Method::DELETE => (Route::RemoveImage, &[Method::DELETE][..]),
            _ => (Route::ListImages, read),
        },
        ["containerLogs", namespace, pod, container] => (Route::Logs(container_name(namespace, pod, container)), read),
        ["exec", namespace, pod, container] => (Route::Exec(container_name(namespace, pod, container)), stream),
        ["attach", namespace, pod, container] => (Route::Attach(container_name(namespace, pod, container)), stream),
        ["portForward", namespace, pod] => (Route::PortForward(pod_name(namespace, pod)), stream),
        _ => return Err(NoRoute::Path),
    };
    if methods.contains(method) { Ok(route) } else { Err(NoRoute::Method) }
}

fn pod_name(namespace: &str, name: &str) -> PodName {
    PodName { namespace: namespace.to_owned(), name: name.to_owned() }
}

fn container_name(namespace: &str, pod: &str, container: &str) -> ContainerName {
    ContainerName { pod: pod_name(namespace, pod), container: container.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_routes() {
        let web = || container_name("default", "web-1", "app");
        let table = [
            ("GET", "/healthz", Ok(Route::Health)),
            ("POST", "/healthz", Err(NoRoute::Method)),
            ("GET", "/pods", Ok(Route::Pods)),
            ("GET", "/pods/", Err(NoRoute::Path)),
            ("GET", "/stats/summary", Ok(Route::Summary)),
            ("GET", "/metrics/resource", Ok(Route::Resource)),
            ("GET", "/metrics/cadvisor", Ok(Route::Cadvisor)),
            ("GET", "/metrics/probes", Ok(Route::Probes)),
            ("GET", "/stats", Err(NoRoute::Path)),
            ("GET", "/", Err(NoRoute::Path)),
            ("GET", "/images", Ok(Route::ListImages)),
            ("POST", "/images", Ok(Route::ImportImage)),
            ("DELETE", "/images", Ok(Route::RemoveImage)),
            ("PUT", "/images", Err(NoRoute::Method)),
            ("GET", "/containerLogs/default/web-1/app", Ok(Route::Logs(web()))),
            ("GET", "/containerLogs/default/web%2D1/app", Ok(Route::Logs(web()))),
            ("GET", "/containerLogs/default/%ff/app", Err(NoRoute::Path)),
            ("POST", "/containerLogs/default/web-1/app", Err(NoRoute::Method)),
            ("GET", "/containerLogs/default/web-1", Err(NoRoute::Path)),
            ("POST", "/exec/default/web-1/app", Ok(Route::Exec(web()))),
            ("GET", "/attach/default/web-1/app", Ok(Route::Attach(web()))),
            ("DELETE", "/attach/default/web-1/app", Err(NoRoute::Method)),
            ("GET", "/portForward/default/web-1", Ok(Route::PortForward(pod_name("default", "web-1")))),
        ];
        for (method, path, expected) in table {
            assert_eq!(route(&method.parse().expect("a method"), path), expected, "{method} {path}");
        }
    }
}
