// Nothing happens before somebody presses the button: what opens links by itself presses none.
"use strict";

const ACTIONS = {
  confirm: {
    path: "api/v1/newsletter/confirm",
    question: "You are about to subscribe to our newsletter.",
    button: "Subscribe",
    done: "You are subscribed. Every mail has a link to end that.",
  },
  unsubscribe: {
    path: "api/v1/newsletter/unsubscribe",
    question: "You are about to end your subscription to our newsletter.",
    button: "Unsubscribe",
    done: "You are unsubscribed, and your address is forgotten.",
  },
};

const message = document.getElementById("message");
const button = document.getElementById("button");

async function send(action, token) {
  button.disabled = true;
  try {
    const response = await fetch(action.path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token }),
    });
    if (response.ok) {
      message.textContent = action.done;
    } else {
      const problem = await response.json();
      message.textContent = `${problem.title}: ${problem.detail}.`;
    }
    button.hidden = response.ok || response.status < 500;
  } catch {
    message.textContent = "That did not get through. Try again in a moment.";
  }
  button.disabled = false;
}

function show() {
  const [name, token] = location.hash.slice(1).split("=");
  if (!Object.hasOwn(ACTIONS, name) || !token) {
    return;
  }
  const action = ACTIONS[name];
  message.textContent = action.question;
  button.textContent = action.button;
  button.hidden = false;
  button.onclick = () => send(action, token);
}

window.addEventListener("hashchange", show);
show();
