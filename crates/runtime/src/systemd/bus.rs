//! A small D-Bus client: calls with their answers, and signals, over a Unix socket, nothing at the same time.
//! D-Bus Specification, "Message Protocol" and "Authentication Protocol".
//!
//! Our own, since the crates for it bring an async runtime or stand still, and systemd wants few of its types.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// The longest message that is read, in bytes; systemd's are below one kilobyte.
const LONGEST: usize = 1 << 20;

/// How long an answer or a signal is waited for, whatever else comes meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);

const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// A value that travels; each with its type's letter in the specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `u`
    U32(u32),
    /// `i`
    I32(i32),
    /// `t`
    U64(u64),
    /// `x`
    I64(i64),
    /// `s`
    Text(String),
    /// `as`
    Texts(Vec<String>),
    /// `au`
    Numbers(Vec<u32>),
    /// `ay`
    Bytes(Vec<u8>),
    /// `a(sv)`, names with their values
    Properties(Vec<(String, Value)>),
    /// `a(sa(sv))` without members, which is all that anybody sends
    NoUnits,
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Value::Bool(_) => "b",
            Value::U32(_) => "u",
            Value::I32(_) => "i",
            Value::U64(_) => "t",
            Value::I64(_) => "x",
            Value::Text(_) => "s",
            Value::Texts(_) => "as",
            Value::Numbers(_) => "au",
            Value::Bytes(_) => "ay",
            Value::Properties(_) => "a(sv)",
            Value::NoUnits => "a(sa(sv))",
        }
    }
}

/// What is asked of whom.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// A bus name.
    pub destination: &'a str,
    /// An object's path.
    pub path: &'a str,
    /// Its interface.
    pub interface: &'a str,
}

/// A message that came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Message {
    kind: u8,
    /// Of the call that it answers.
    answers: u32,
    member: String,
    error: String,
    body: Vec<u8>,
}

/// An error that the other side returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Such as `org.freedesktop.systemd1.UnitExists`.
    pub name: String,
    /// For people.
    pub text: String,
}

/// A connection to a bus.
#[derive(Debug)]
pub struct Bus {
    stream: UnixStream,
    serial: u32,
    /// Those that came while an answer was waited for.
    signals: Vec<Message>,
    patience: Duration,
    /// When what is waited for must be there.
    until: Instant,
}

impl Bus {
    /// Connects to the socket at `path`, and says hello.
    pub fn connect(path: &Path) -> Result<Bus> {
        let failed = |error: std::io::Error| Error::of_io("connect to", path, &error);
        let stream = UnixStream::connect(path).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        let mut bus = Bus::over(stream, PATIENCE);
        bus.authenticate()?;
        let target = Target {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
        };
        bus.ask(target, "Hello", &[])?.map_err(|refusal| Error::new(refusal.text))?;
        Ok(bus)
    }

    fn over(stream: UnixStream, patience: Duration) -> Bus {
        let until = Instant::now() + patience;
        Bus { stream, serial: 0, signals: Vec::new(), patience, until }
    }

    /// By the socket's credentials: in a user namespace one's own number is another one outside, so none is said.
    fn authenticate(&mut self) -> Result<()> {
        for part in [&b"\0"[..], b"AUTH EXTERNAL\r\n", b"DATA\r\n"] {
            self.write(part)?;
        }
        let (mut said, mut lines) = (Vec::new(), 0);
        while lines < 2 {
            let mut byte = [0];
            self.read(&mut byte)?;
            said.push(byte[0]);
            lines += usize::from(byte == *b"\n");
            if said.len() > 4096 {
                return Err(Error::new("the D-Bus socket speaks another language"));
            }
        }
        let said = String::from_utf8_lossy(&said).into_owned();
        if !said.lines().any(|line| line.starts_with("OK")) {
            return Err(Error::new(format!("the bus does not let this user in: {}", said.trim())));
        }
        self.write(b"BEGIN\r\n")
    }

    /// Calls `member`, and waits for the answer: its body.
    pub fn ask(
        &mut self,
        target: Target<'_>,
        member: &str,
        arguments: &[Value],
    ) -> Result<std::result::Result<Vec<u8>, Refusal>> {
        self.serial += 1;
        self.until = Instant::now() + self.patience;
        let call = call(self.serial, target, member, arguments);
        self.write(&call)?;
        loop {
            let message = self.receive()?;
            match message.kind {
                SIGNAL => self.signals.push(message),
                RETURN if message.answers == self.serial => return Ok(Ok(message.body)),
                ERROR if message.answers == self.serial => {
                    let text = Reader::new(&message.body).text().unwrap_or_default();
                    return Ok(Err(Refusal { name: message.error, text }));
                }
                _ => {}
            }
        }
    }

    /// The body of the next signal called `member`, as long as there is patience since the last question.
    pub fn hear(&mut self, member: &str) -> Result<Vec<u8>> {
        loop {
            let message =
                if self.signals.is_empty() { self.receive()? } else { self.signals.remove(0) };
            if message.kind == SIGNAL && message.member == member {
                return Ok(message.body);
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream
            .write_all(bytes)
            .map_err(|e| Error::new(format!("cannot write to the bus: {e}")))
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<()> {
        let left = self.until.saturating_duration_since(Instant::now());
        // The kernel takes no time at all for no limit.
        let read = if left.is_zero() {
            Err(ErrorKind::TimedOut.into())
        } else {
            self.stream.set_read_timeout(Some(left)).and_then(|()| self.stream.read_exact(bytes))
        };
        read.map_err(|e| Error::new(format!("no word from the bus: {e}")))
    }

    fn receive(&mut self) -> Result<Message> {
        let strange = || Error::new("the bus sends what is no D-Bus message");
        let mut head = [0; 16];
        self.read(&mut head)?;
        let number = |at: usize| {
            u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize
        };
        let (body, fields) = (number(4), number(12));
        if head[0] != b'l' || body > LONGEST || fields > LONGEST {
            return Err(strange());
        }
        let mut rest = vec![0; fields.next_multiple_of(8) + body];
        self.read(&mut rest)?;
        let (fields, body) = (&rest[..fields], &rest[fields.next_multiple_of(8)..]);
        message(head[1], fields, body).ok_or_else(strange)
    }
}

/// One whole call.
fn call(serial: u32, target: Target<'_>, member: &str, arguments: &[Value]) -> Vec<u8> {
    let mut body = Writer::default();
    for argument in arguments {
        body.value(argument);
    }
    let signature: String = arguments.iter().map(Value::signature).collect();
    let mut head = Writer(vec![b'l', CALL, 0, 1]);
    head.u32(body.0.len() as u32);
    head.u32(serial);
    let texts = [
        (1, "o", target.path),
        (2, "s", target.interface),
        (3, "s", member),
        (6, "s", target.destination),
    ];
    head.array(8, |head| {
        for (code, kind, text) in texts {
            head.align(8);
            head.0.push(code);
            head.signature(kind);
            head.text(text);
        }
        if !signature.is_empty() {
            head.align(8);
            head.0.push(8);
            head.signature("g");
            head.signature(&signature);
        }
    });
    head.align(8);
    head.0.extend_from_slice(&body.0);
    head.0
}

fn message(kind: u8, fields: &[u8], body: &[u8]) -> Option<Message> {
    let mut message = Message { kind, body: body.to_owned(), ..Message::default() };
    let mut reader = Reader::new(fields);
    while !reader.is_at_end() {
        reader.align(8);
        let code = reader.byte()?;
        match reader.signature()?.as_str() {
            "s" | "o" => {
                let text = reader.text()?;
                match code {
                    3 => message.member = text,
                    4 => message.error = text,
                    _ => {}
                }
            }
            "g" => drop(reader.signature()?),
            "u" => {
                let number = reader.u32()?;
                if code == 5 {
                    message.answers = number;
                }
            }
            _ => return None,
        }
    }
    Some(message)
}

/// Puts values behind each other, each where its type wants to lie.
#[derive(Debug, Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn u32(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// Its length does not count what lies before the first member.
    fn array(&mut self, member_lies_at: usize, fill: impl FnOnce(&mut Writer)) {
        self.u32(0);
        let length_ends = self.0.len();
        self.align(member_lies_at);
        let begins = self.0.len();
        fill(self);
        let length = (self.0.len() - begins) as u32;
        self.0[length_ends - 4..length_ends].copy_from_slice(&length.to_le_bytes());
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(truth) => self.u32(u32::from(*truth)),
            Value::U32(number) => self.u32(*number),
            Value::I32(number) => self.u32(*number as u32),
            Value::U64(number) => {
                self.align(8);
                self.0.extend(number.to_le_bytes());
            }
            Value::I64(number) => self.value(&Value::U64(*number as u64)),
            Value::Text(text) => self.text(text),
            Value::Texts(texts) => self.array(4, |w| texts.iter().for_each(|text| w.text(text))),
            Value::Numbers(numbers) => self.array(4, |w| numbers.iter().for_each(|n| w.u32(*n))),
            Value::Bytes(bytes) => self.array(1, |w| w.0.extend(bytes)),
            Value::NoUnits => self.array(8, |_| {}),
            Value::Properties(properties) => self.array(8, |w| {
                for (name, value) in properties {
                    w.align(8);
                    w.text(name);
                    w.signature(value.signature());
                    w.value(value);
                }
            }),
        }
    }
}

/// Takes values from where they lie; `None` where there is no such value.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads a body.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// `u`
    pub fn u32(&mut self) -> Option<u32> {
        self.align(4);
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    /// `s` or `o`
    pub fn text(&mut self) -> Option<String> {
        let length = self.u32()? as usize;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1).map(|_| text)
    }

    fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1).map(|_| text)
    }

    /// `v` with a text in it
    pub fn variant_text(&mut self) -> Option<String> {
        let is_text = matches!(self.signature()?.as_str(), "s" | "o");
        if is_text { self.text() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUS: Target<'_> = Target {
        destination: "org.freedesktop.DBus",
        path: "/org/freedesktop/DBus",
        interface: "org.freedesktop.DBus",
    };

    #[test]
    fn a_call_is_what_the_specification_says() {
        let bytes = call(1, BUS, "Hello", &[]);
        assert_eq!(&bytes[..16], b"l\x01\x00\x01\x00\x00\x00\x00\x01\x00\x00\x00\x6d\x00\x00\x00");
        assert_eq!(
            &bytes[16..48],
            b"\x01\x01o\x00\x15\x00\x00\x00/org/freedesktop/DBus\x00\x00\x00"
        );
        assert_eq!(bytes.len() % 8, 0);
        // What is written can be read.
        let fields = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
        let read = message(CALL, &bytes[16..16 + fields], &[]).unwrap();
        assert_eq!(read.member, "Hello");
    }

    #[test]
    fn values_lie_where_their_types_want() {
        let mut writer = Writer::default();
        writer.value(&Value::Text(String::from("ab")));
        writer.value(&Value::U64(7));
        assert_eq!(writer.0, b"\x02\0\0\0ab\0\0\x07\0\0\0\0\0\0\0");
        let mut writer = Writer::default();
        let properties = vec![
            (String::from("A"), Value::Bool(true)),
            (String::from("B"), Value::Numbers(vec![5])),
        ];
        writer.value(&Value::Properties(properties));
        assert_eq!(
            writer.0,
            // Length, padding, "A" of type b, padding, "B" of type au.
            b"\x24\0\0\0\0\0\0\0\x01\0\0\0A\0\x01b\0\0\0\0\x01\0\0\0\x01\0\0\0B\0\x02au\0\0\0\x04\0\0\0\x05\0\0\0"
        );
        let mut writer = Writer::default();
        writer.value(&Value::NoUnits);
        assert_eq!(writer.0, [0; 8]);
    }

    #[test]
    fn a_bus_that_talks_of_other_things_is_not_heard_for_ever() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut signal = call(1, BUS, "Other", &[]);
        signal[1] = SIGNAL;
        let talk = std::thread::spawn(move || while theirs.write_all(&signal).is_ok() {});
        let mut bus = Bus::over(ours, Duration::from_millis(50));
        assert!(bus.hear("JobRemoved").is_err());
        drop(bus);
        talk.join().unwrap();
    }

    #[test]
    fn whatever_comes_is_no_reason_to_fall() {
        let bytes = call(9, BUS, "Get", &[Value::Text(String::from("x"))]);
        let fields = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
        let fields = &bytes[16..16 + fields];
        for end in 0..fields.len() {
            let _ = message(RETURN, &fields[..end], &[]);
        }
        for at in 0..fields.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut broken = fields.to_vec();
                broken[at] = byte;
                let _ = message(RETURN, &broken, &[]);
            }
        }
        assert_eq!(Reader::new(b"\xff\xff\xff\xffab").text(), None);
        assert_eq!(Reader::new(b"").variant_text(), None);
    }
}
