// A room in React: who signs in is in it, reads what is said from then on, and says something.

import { StrictMode, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { Respoke, tokenFrom } from 'respoked';
import { RespokeProvider, useConnection, useGroup, useMessages, usePresence } from 'respoked/react';

function App() {
  const [user, setUser] = useState();
  const [client, setClient] = useState();
  const signIn = async (event) => {
    event.preventDefault();
    const name = new FormData(event.target).get('name');
    const answer = await fetch('/sign-in', { method: 'POST', body: JSON.stringify({ name }) });
    if (!answer.ok) return;
    const { server } = await answer.json();
    setClient(new Respoke({ url: server, getToken: tokenFrom('/respoke-token') }));
    setUser(name);
  };
  if (!client) {
    return (
      <form id="sign-in" onSubmit={signIn}>
        <label>Your name <input name="name" required /></label> <button>Sign in</button>
      </form>
    );
  }
  return (
    <RespokeProvider client={client}>
      <Room user={user} />
    </RespokeProvider>
  );
}

function Room({ user }) {
  const { state, reason } = useConnection();
  const { group, publish, state: standing, error } = useGroup('react', { history: true });
  const messages = useMessages(group);
  const [mine, setMine] = useState([]);
  const say = (event) => {
    event.preventDefault();
    const text = new FormData(event.target).get('text');
    event.target.reset();
    const note = (how) => setMine((lines) => [...lines, `${text}${how}`]);
    publish({ text }, { persist: true }).then(() => note(''), (failed) => note(` (${failed.outcome === 'unknown' ? 'perhaps said' : 'not said'})`));
  };
  return (
    <main>
      <p id="state" role="status">{user}: {state} {reason?.text} {standing} {error?.message}</p>
      <ol id="messages" aria-live="polite">
        {messages.map((each, index) => (
          <li key={index}>{each.type === 'gap' ? 'Something may be missing here.' : <><Name of={each.from} />: {each.data.text}</>}</li>
        ))}
      </ol>
      <ol id="mine">{mine.map((line, index) => <li key={index}>{line}</li>)}</ol>
      <form id="say" onSubmit={say}>
        <label>Message <input name="text" autoComplete="off" required /></label> <button>Send</button>
      </form>
    </main>
  );
}

/** A user's name, and what the user says of being there. */
function Name({ of }) {
  const [presence] = Object.values(usePresence(of));
  return presence ? `${of} (${presence.type})` : of;
}

createRoot(document.getElementById('root')).render(<StrictMode><App /></StrictMode>);
