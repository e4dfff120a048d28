// The doors of the stand-in server: sessions in cookies, as the API has them on http://localhost.
//
// People of the scenarios "locked" and "setup" (password letmein-please): ada (admin), nina (has to choose a password),
// otto (code 246810), mia (has to add an authenticator app), lou (is locked out). API key: letmein. Setup code: setup_1.
// POST /api/auth/__end ends the session as time does, POST /api/auth/__lose takes the refresh token's session as well.

const PASSWORD = "letmein-please";
const SETUP_CODE = "setup_1";
const CODE = "246810";
const LOCKED_SECONDS = 840;
const STEPS = {
  nina: { name: "NEW_PASSWORD_REQUIRED" },
  otto: { name: "SOFTWARE_TOKEN_MFA" },
  mia: {
    name: "MFA_SETUP",
    secret: "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",
    otpauth_url: "otpauth://totp/SimpleTuner%20Cloud:mia?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",
  },
};

const view = (username) => ({
  id: `id-${username}`,
  email: `${username}@example.com`,
  username,
  display_name: null,
  avatar_url: null,
  auth_provider: "cognito",
  is_active: true,
  is_admin: username === "ada",
  email_verified: false,
  created_at: "2026-11-01T00:00:00Z",
  last_login_at: null,
  levels: [],
  permissions: [],
  role: username === "ada" ? "admin" : "researcher",
});

export class Doors {
  #closed = false;
  #setup = false;
  /** What session and refresh cookie are good for. */
  #session = null;
  #refresh = null;
  #count = 0;

  reset(scenario) {
    this.#closed = ["locked", "setup"].includes(scenario);
    this.#setup = scenario === "setup";
    this.#session = this.#refresh = null;
  }

  admits(request) {
    return !this.#closed || this.#who(request) !== null;
  }

  answer(request, response, path, body, { json, problem }) {
    const cookies = this.#cookies(request);
    const call = {
      request,
      body,
      cookies,
      proven: Boolean(cookies.stc_csrf) && request.headers["x-csrf-token"] === cookies.stc_csrf,
      ok: (value) => json(response, value),
      problem: (...told) => problem(response, ...told),
      refuse: () => problem(response, 401, "invalid_credentials", "Invalid username or password"),
      unproven: () => problem(response, 403, "csrf_failed", "Repeat the cookie."),
      cookie: (lines) => response.setHeader("Set-Cookie", lines),
    };
    const route = this.#routes[path.slice("/api/auth/".length)];
    return route ? route(call) : call.problem(404, "not_found", "There is no such route.");
  }

  #routes = {
    me: (call) => {
      if (!this.#closed) return call.ok({ ...view("local"), kind: "local", role: "admin" });
      const who = this.#who(call.request);
      return who ? call.ok({ ...view(who), kind: "session" }) : call.refuse();
    },
    "setup/status": (call) =>
      call.ok({
        needs_setup: this.#setup,
        has_admin: !this.#setup,
        user_count: this.#setup ? 0 : 1,
        setup_code_required: this.#setup,
      }),
    "setup/first-admin": (call) => {
      if (call.body.setup_code !== SETUP_CODE)
        return call.problem(401, "invalid_setup_code", "It is not right.");
      this.#setup = false;
      return call.ok({ success: true, user: view(call.body.username) });
    },
    login: (call) => {
      const { username, password, session } = call.body;
      if (username === "lou")
        return call.problem(429, "rate_limited", "Wait.", { "Retry-After": LOCKED_SECONDS });
      if (password !== PASSWORD || session !== "cookie") return call.refuse();
      const step = STEPS[username];
      if (!step) return this.#enter(call, username);
      const challenge = { session: `step-${username}`, message: "One more step.", ...step };
      return call.ok({ success: false, challenge });
    },
    "login/challenge": (call) => {
      const { username, challenge, challenge_session, answer } = call.body;
      if (challenge_session !== `step-${username}` || STEPS[username]?.name !== challenge)
        return call.refuse();
      if (challenge !== "NEW_PASSWORD_REQUIRED")
        return answer === CODE ? this.#enter(call, username) : call.refuse();
      return answer.length < 12
        ? call.problem(422, "weak_password", "Password must be 12 characters or longer")
        : this.#enter(call, username);
    },
    refresh: (call) => {
      if (!this.#refresh || call.cookies.stc_refresh !== this.#refresh.token) return call.refuse();
      return call.proven ? this.#enter(call, this.#refresh.who) : call.unproven();
    },
    logout: (call) => {
      if (!call.proven) return call.unproven();
      this.#session = this.#refresh = null;
      call.cookie(["stc_session=; Path=/; Max-Age=0", "stc_csrf=; Path=/; Max-Age=0"]);
      return call.ok({ success: true });
    },
    __end: (call) => {
      this.#session = null;
      return call.ok({});
    },
    __lose: (call) => {
      this.#session = this.#refresh = null;
      return call.ok({});
    },
  };

  #enter(call, who) {
    this.#count += 1;
    this.#session = { token: `session-${this.#count}`, who };
    this.#refresh = { token: `refresh-${this.#count}`, who };
    const rest = "SameSite=Strict; Max-Age=2592000";
    call.cookie([
      `stc_session=${this.#session.token}; Path=/; ${rest}; HttpOnly`,
      `stc_refresh=${this.#refresh.token}; Path=/api/auth; ${rest}; HttpOnly`,
      `stc_csrf=csrf-${this.#count}; Path=/; ${rest}`,
    ]);
    return call.ok({ success: true, user: view(who), expires_in: 900 });
  }

  #who(request) {
    const given = request.headers.authorization;
    if (given) return given === "Bearer letmein" ? "ada" : null;
    const token = this.#cookies(request).stc_session;
    return this.#session && token === this.#session.token ? this.#session.who : null;
  }

  #cookies(request) {
    const pairs = (request.headers.cookie ?? "").split("; ").map((pair) => pair.split("="));
    return Object.fromEntries(pairs);
  }
}
