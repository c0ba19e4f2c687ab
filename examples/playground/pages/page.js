/** What both pages have: a mailbox whose state is shown, copy buttons, and a line for screen readers. */
import { start } from '/_gb/client.js';

export const byId = id => document.getElementById(id);

/** How a person tells one address from another. */
export const nameOf = (role, address) => `${role} …${address.slice(-6)}`;

/**
 * Opens the page's mailbox, or after a reload the same one again, and shows how it is.
 *
 * @param role the page's name: a tab that goes from one page to the other has a mailbox for each
 * @param log where missing messages are reported
 */
export async function openMailbox(role, log) {
  const storage = {
    getItem: () => sessionStorage.getItem(role),
    setItem: (_, saved) => sessionStorage.setItem(role, saved),
    removeItem: () => sessionStorage.removeItem(role),
  };
  const startAnew = () => {
    storage.removeItem();
    location.reload();
  };
  const onGap = missing =>
    log.add('problem', `${missing == Infinity ? 'Some' : missing} messages are missing`);
  const onStatus = status => {
    showStatus(status);
    if (status.state == 'closed')
      showNotice(ENDINGS[status.reason] ?? status.error?.detail, 'Open a new mailbox', startAnew);
  };
  try {
    const client = await start(location.origin, { storage, onStatus, onGap });
    byId('address').textContent = client.address;
    return client;
  } catch (error) {
    showStatus({ state: 'closed' });
    showNotice(`There is no mailbox: ${error.detail}.`, 'Try again', () => location.reload());
    throw error;
  }
}

const ENDINGS = {
  'taken-over': 'Another tab reads this mailbox now, so this one has stopped.',
  expired: 'This mailbox has expired: nobody read it for too long.',
  gone: 'This mailbox is gone: the server does not know it any more.',
  closed: 'This mailbox was closed.',
};

function showStatus({ state, transport }) {
  const status = byId('status');
  status.dataset.state = state;
  status.textContent = {
    connecting: 'Connecting…',
    open: transport == 'sse' ? 'Open, streaming' : 'Open, polling',
    reconnecting: 'Reconnecting…',
    closed: 'Closed',
  }[state];
}

/** Shows what went wrong, and the button that helps. */
export function showNotice(text, action, act) {
  const paragraph = document.createElement('p');
  paragraph.textContent = text;
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'secondary';
  button.textContent = action;
  button.onclick = act;
  byId('notice').replaceChildren(paragraph, button);
  byId('notice').hidden = false;
}

/** Tells screen readers what others see. */
export function announce(text) {
  byId('announcer').textContent = text;
}

/** Makes the buttons copy the text of the element that their data-copy names. */
export function enableCopying() {
  for (const button of document.querySelectorAll('[data-copy]')) {
    const label = button.textContent;
    button.disabled = false;
    button.onclick = async () => {
      await copy(byId(button.dataset.copy).textContent);
      button.textContent = 'Copied';
      announce('Copied');
      setTimeout(() => {
        button.textContent = label;
      }, 1500);
    };
  }
}

async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Without https, as on a phone in the same network, there is only the old way.
  const field = document.createElement('textarea');
  field.value = text;
  field.readOnly = true;
  field.className = 'unseen';
  const focused = document.activeElement;
  document.body.append(field);
  field.select();
  document.execCommand('copy');
  field.remove();
  focused?.focus();
}
