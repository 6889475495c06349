//! URLs as Go's `net/url` reads the target of a request: absolute ones, and absolute paths.

/// A URL in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub scheme: String,
    pub host: String,
    /// With what has to be escaped in it.
    pub path: String,
    pub query: String,
}

/// Where a text stands decides which characters are themselves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Host,
    Path,
    Query,
    User,
    Zone,
}

impl Url {
    pub fn parse(text: &str) -> Result<Self, String> {
        let told = |why: String| format!("URL parse error during conversion from string: parse {text:?}: {why}");
        read(text).map_err(told)
    }

    /// The host without its port, and without the brackets of an address.
    pub fn hostname(&self) -> &str {
        let (host, _) = self.split_host();
        host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host)
    }

    pub fn port(&self) -> &str {
        self.split_host().1
    }

    fn split_host(&self) -> (&str, &str) {
        match self.host.rsplit_once(':') {
            Some((host, port)) if is_port(port) => (host, port),
            Some(_) | None => (&self.host, ""),
        }
    }

    /// The parameters by name, each with all its values, decoded; what cannot be decoded is left out.
    pub fn parameters(&self) -> Vec<(String, Vec<String>)> {
        let mut out: Vec<(String, Vec<String>)> = Vec::new();
        for part in self.query.split('&').filter(|part| !part.is_empty() && !part.contains(';')) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (Ok(name), Ok(value)) = (unescape(name, Part::Query), unescape(value, Part::Query)) else { continue };
            match out.iter_mut().find(|(known, _)| *known == name) {
                Some((_, values)) => values.push(value),
                None => out.push((name, vec![value])),
            }
        }
        out
    }
}

fn read(text: &str) -> Result<Url, String> {
    if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    if text.is_empty() {
        return Err("empty url".to_owned());
    }
    let mut url = Url { scheme: String::new(), host: String::new(), path: String::new(), query: String::new() };
    if text == "*" {
        url.path = text.to_owned();
        return Ok(url);
    }
    let (scheme, rest) = split_scheme(text)?;
    url.scheme = scheme.to_ascii_lowercase();
    let (mut rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    url.query = query.to_owned();
    if !rest.starts_with('/') {
        return match scheme {
            "" => Err("invalid URI for request".to_owned()),
            // Such as `mailto:a@b`: what follows is not looked at.
            _ => Ok(url),
        };
    }
    if let (false, Some(behind)) = (scheme.is_empty(), rest.strip_prefix("//")) {
        let (authority, path) = behind.split_at(behind.find('/').unwrap_or(behind.len()));
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        check_user(user)?;
        url.host = read_host(host)?;
        rest = path;
    }
    let path = unescape(rest, Part::Path)?;
    url.path = if is_escaped(rest) { rest.to_owned() } else { escape(&path) };
    Ok(url)
}

fn split_scheme(text: &str) -> Result<(&str, &str), String> {
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => return Ok((&text[..at], &text[at + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn check_user(user: &str) -> Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
    if !user.bytes().all(legal) {
        return Err("net/url: invalid userinfo".to_owned());
    }
    unescape(user, Part::User).map(drop)
}

fn read_host(host: &str) -> Result<String, String> {
    let Some(end) = host.starts_with('[').then(|| host.rfind(']')) else {
        if let Some((_, port)) = host.rsplit_once(':') {
            check_port(port)?;
        }
        return unescape(host, Part::Host);
    };
    let end = end.ok_or("missing ']' in host")?;
    let (address, behind) = host.split_at(end);
    match behind[1..].strip_prefix(':') {
        Some(port) => check_port(port)?,
        None if behind.len() > 1 => return Err(format!("invalid port {:?} after host", &behind[1..])),
        None => {}
    }
    match address.find("%25") {
        None => unescape(host, Part::Host),
        Some(zone) => Ok([
            unescape(&address[..zone], Part::Host)?,
            unescape(&address[zone..], Part::Zone)?,
            unescape(behind, Part::Host)?,
        ]
        .concat()),
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn check_port(port: &str) -> Result<(), String> {
    if is_port(port) { Ok(()) } else { Err(format!("invalid port {:?} after host", format!(":{port}"))) }
}

/// Whether a character may stand for itself.
fn is_plain(byte: u8, part: Part) -> bool {
    let letter = byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    letter
        || match part {
            Part::Host | Part::Zone => b"!$&'()*+,;=:[]<>\"".contains(&byte),
            Part::Path => b"$&+,/:;=@".contains(&byte),
            Part::Query | Part::User => false,
        }
}

fn unescape(text: &str, part: Part) -> Result<String, String> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'%' => {
                let shown = || bytes[at - 1..].iter().take(3).map(|byte| char::from(*byte)).collect::<String>();
                let hex = text.get(at..at + 2).filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
                let code = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
                let code = code.ok_or_else(|| format!("invalid URL escape {:?}", shown()))?;
                let ascii = code < 0x80 && code != b'%';
                if ascii && (part == Part::Host || part == Part::Zone && code != b' ' && !is_plain(code, part)) {
                    return Err(format!("invalid URL escape {:?}", shown()));
                }
                out.push(code);
                at += 2;
            }
            b'+' if part == Part::Query => out.push(b' '),
            byte if matches!(part, Part::Host | Part::Zone) && byte.is_ascii() && !is_plain(*byte, part) => {
                return Err(format!("invalid character {:?} in host name", char::from(*byte).to_string()));
            }
            byte => out.push(*byte),
        }
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Whether a path is written as one may write it.
fn is_escaped(path: &str) -> bool {
    path.bytes().all(|byte| is_plain(byte, Part::Path) || b"!'()*[]%".contains(&byte))
}

fn escape(path: &str) -> String {
    let written = |byte: u8| match is_plain(byte, Part::Path) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    path.bytes().map(written).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_fall_into_their_parts() {
        let url = Url::parse("https://user@[::1]:8443/a%20b?x=1&y=%41&x=2&%zz=1&a;b").unwrap();
        assert_eq!(
            (url.scheme.as_str(), url.hostname(), url.port(), url.path.as_str()),
            ("https", "::1", "8443", "/a%20b")
        );
        let expected = [("x".to_owned(), vec!["1".to_owned(), "2".to_owned()]), ("y".to_owned(), vec!["A".to_owned()])];
        assert_eq!(url.parameters(), expected);
    }

    #[test]
    fn urls_are_those_of_go() {
        let table = [
            ("/absolute", Ok("/absolute")),
            ("/a b", Ok("/a%20b")),
            ("/a%2Fb!", Ok("/a%2Fb!")),
            ("https://ex.com/?q=a b", Ok("/")),
            ("HTTPS://ex.com:/x#y", Ok("/x%23y")),
            ("https://ex%C3%A4.com", Ok("")),
            ("https://[fe80::1%25eth0]:80/", Ok("/")),
            ("mailto:a@b", Ok("")),
            ("a:", Ok("")),
            ("*", Ok("*")),
            ("", Err("empty url")),
            ("../relative", Err("invalid URI for request")),
            ("example.com/x", Err("invalid URI for request")),
            (":x", Err("missing protocol scheme")),
            ("/a\n", Err("net/url: invalid control character in URL")),
            ("https://ex.com/%zz", Err("invalid URL escape \"%zz\"")),
            ("https://ex.com/%4", Err("invalid URL escape \"%4\"")),
            ("https://ex .com/", Err("invalid character \" \" in host name")),
            ("https://ex%41.com/", Err("invalid URL escape \"%41\"")),
            ("https://ex.com:8a/", Err("invalid port \":8a\" after host")),
            ("https://[::1/", Err("missing ']' in host")),
            ("https://[::1]8/", Err("invalid port \"8\" after host")),
            ("https://a b@ex.com/", Err("net/url: invalid userinfo")),
        ];
        for (text, expected) in table {
            let told = |why: &str| format!("URL parse error during conversion from string: parse {text:?}: {why}");
            assert_eq!(Url::parse(text).map(|url| url.path), expected.map(str::to_owned).map_err(told), "{text}");
        }
    }
}
