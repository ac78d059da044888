//! Who may do what: nobody asked, basic, or tokens from an endpoint of their own.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

use super::http::{Answer, Message, form};

/// What the registry asks of its clients.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Nothing.
    #[default]
    None,
    /// Name and password with each request.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// A token of its endpoint, good for the scopes it was asked for.
    Token(TokenAuth),
}

/// How long a token is good.
#[derive(Clone, Copy, Debug)]
pub enum Lifetime {
    /// For ever.
    Endless,
    /// For so many requests.
    Requests(u32),
    /// So long.
    Time(Duration),
}

/// How the token endpoint behaves.
#[derive(Clone, Debug)]
pub struct TokenAuth {
    /// Who may have tokens for everything.
    pub user: String,
    /// Their password.
    pub password: String,
    /// Whether who has no password gets tokens to pull.
    pub anonymous_pull: bool,
    /// How long tokens are good.
    pub lifetime: Lifetime,
    /// What `expires_in` says; left out when `None`.
    pub expires_in: Option<u64>,
    /// The identity token that is handed out and taken.
    pub identity_token: String,
    /// Whether `POST` (OAuth2) is understood; else it is answered with 404.
    pub oauth: bool,
    /// Whether the answer calls it `access_token`; else `token`.
    pub access_token: bool,
    /// What each token begins with, for tests that look for it where it must not be.
    pub prefix: String,
}

impl Default for TokenAuth {
    fn default() -> Self {
        Self {
            user: "robot".to_owned(),
            password: "s3cret-password".to_owned(),
            anonymous_pull: true,
            lifetime: Lifetime::Endless,
            expires_in: None,
            identity_token: "s3cret-identity".to_owned(),
            oauth: true,
            access_token: false,
            prefix: "s3cret-token-".to_owned(),
        }
    }
}

impl Auth {
    /// `robot` with `s3cret-password`.
    #[must_use]
    pub fn basic() -> Self {
        let TokenAuth { user, password, .. } = TokenAuth::default();
        Self::Basic { user, password }
    }

    /// Tokens as [`TokenAuth::default`] gives them.
    #[must_use]
    pub fn token() -> Self {
        Self::Token(TokenAuth::default())
    }
}

/// `(repository, action)`.
pub(super) type Scope = (String, &'static str);

#[derive(Debug)]
struct Token {
    scopes: Vec<(String, String)>,
    uses: u32,
    made: Instant,
}

/// The tokens that are in the world.
#[derive(Debug)]
pub(super) struct Guard {
    auth: Auth,
    /// Address of the token endpoint.
    realm: String,
    tokens: HashMap<String, Token>,
}

enum Caller {
    Nobody,
    User,
    Stranger,
}

impl Guard {
    pub(super) fn new(auth: Auth, realm: String) -> Self {
        Self { auth, realm, tokens: HashMap::new() }
    }

    /// `None` when all of `scopes` are granted, else the answer.
    pub(super) fn refuse(&mut self, message: &Message, scopes: &[Scope]) -> Option<Answer> {
        let given = message.head.header("authorization");
        match &self.auth {
            Auth::None => None,
            Auth::Basic { user, password } => {
                let right = given.is_some_and(|value| value == basic(user, password));
                (!right).then(|| unauthorized().with("WWW-Authenticate", "Basic realm=\"test registry\""))
            }
            Auth::Token(_) => self.refuse_token(given, scopes),
        }
    }

    fn refuse_token(&mut self, given: Option<&str>, scopes: &[Scope]) -> Option<Answer> {
        let error = match given.and_then(|value| value.strip_prefix("Bearer ")) {
            None => "",
            Some(token) if !self.use_token(token) => ",error=\"invalid_token\"",
            Some(token) if self.covers(token, scopes) => return None,
            Some(_) => ",error=\"insufficient_scope\"",
        };
        let scopes: Vec<String> =
            scopes.iter().map(|(name, action)| format!("repository:{name}:{action}")).collect();
        let scope =
            if scopes.is_empty() { String::new() } else { format!(",scope=\"{}\"", scopes.join(" ")) };
        let challenge = format!("Bearer realm=\"{}\",service=\"test registry\"{scope}{error}", self.realm);
        Some(unauthorized().with("WWW-Authenticate", challenge))
    }

    fn use_token(&mut self, text: &str) -> bool {
        let Auth::Token(TokenAuth { lifetime, .. }) = &self.auth else { return false };
        let Some(token) = self.tokens.get_mut(text) else { return false };
        token.uses += 1;
        match lifetime {
            Lifetime::Endless => true,
            Lifetime::Requests(most) => token.uses <= *most,
            Lifetime::Time(most) => token.made.elapsed() < *most,
        }
    }

    fn covers(&self, token: &str, scopes: &[Scope]) -> bool {
        let Some(token) = self.tokens.get(token) else { return false };
        let granted = |name: &str, action: &str| token.scopes.iter().any(|(n, a)| n == name && a == action);
        scopes.iter().all(|(name, actions)| actions.split(',').all(|action| granted(name, action)))
    }

    /// The token endpoint.
    pub(super) fn token(&mut self, message: &Message) -> Answer {
        let Auth::Token(config) = self.auth.clone() else { return Answer::new(404) };
        let post = message.head.method == "POST";
        if post && !config.oauth {
            return Answer::new(404);
        }
        let fields = if post { form(&String::from_utf8_lossy(&message.body)) } else { Vec::new() };
        let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        if post && (field("client_id").is_none() || field("service").is_none()) {
            return Answer::json(400, &json!({"error": "invalid_request"}));
        }
        let caller = if post { config.form_caller(&field) } else { config.basic_caller(message) };
        let asked = if post { field("scope").into_iter().collect() } else { message.head.query_all("scope") };
        let offline = match post {
            true => field("access_type").as_deref() == Some("offline"),
            false => message.head.query("offline_token").as_deref() == Some("true"),
        };
        match caller {
            Caller::Stranger => unauthorized(),
            Caller::Nobody if !config.anonymous_pull => unauthorized(),
            Caller::Nobody => self.issue(&config, &asked, |action| action == "pull", false),
            Caller::User => self.issue(&config, &asked, |_| true, offline || post),
        }
    }

    fn issue(
        &mut self,
        config: &TokenAuth,
        asked: &[String],
        may: impl Fn(&str) -> bool,
        identity: bool,
    ) -> Answer {
        let texts = asked.iter().flat_map(|text| text.split(' '));
        let parts = texts.filter_map(|text| text.strip_prefix("repository:")?.rsplit_once(':'));
        let pairs = parts.flat_map(|(name, actions)| actions.split(',').map(move |action| (name, action)));
        let granted = pairs.filter(|(_, action)| may(action)).map(|(n, a)| (n.to_owned(), a.to_owned()));
        let token = Token { scopes: granted.collect(), uses: 0, made: Instant::now() };
        let text = format!("{}{}", config.prefix, self.tokens.len() + 1);
        let name = if config.access_token { "access_token" } else { "token" };
        let mut answer = json!({name: text});
        if let Some(seconds) = config.expires_in {
            answer["expires_in"] = json!(seconds);
        }
        if identity {
            answer["refresh_token"] = json!(config.identity_token);
        }
        self.tokens.insert(text, token);
        Answer::json(200, &answer)
    }
}

impl TokenAuth {
    fn basic_caller(&self, message: &Message) -> Caller {
        match message.head.header("authorization") {
            None => Caller::Nobody,
            Some(value) if value == basic(&self.user, &self.password) => Caller::User,
            Some(_) => Caller::Stranger,
        }
    }

    fn form_caller(&self, field: &dyn Fn(&str) -> Option<String>) -> Caller {
        let right = match field("grant_type").as_deref() {
            Some("password") => {
                field("username").as_ref() == Some(&self.user)
                    && field("password").as_ref() == Some(&self.password)
            }
            Some("refresh_token") => field("refresh_token").as_ref() == Some(&self.identity_token),
            _ => false,
        };
        if right { Caller::User } else { Caller::Stranger }
    }
}

fn unauthorized() -> Answer {
    Answer::error(401, "UNAUTHORIZED", "authentication required")
}

/// The value of an `Authorization` header.
pub(super) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}
