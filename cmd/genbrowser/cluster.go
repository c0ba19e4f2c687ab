package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/genbrowser/genbrowser/web"
	"github.com/genbrowser/genbrowser/web/problem"
)

type cluster struct {
	Status clusterStatus `cmd:"" help:"Print who keeps which mailboxes, and how their log is. Works from where --operators of the server allows it."`
}

type clusterStatus struct {
	URL  string `arg:"" help:"The server, such as http://localhost:8080 or unix:///run/gb.sock: any node."`
	JSON bool   `help:"Print JSON, for programs." env:"-"`
}

// Run asks the server where its routes are, and then how it is.
func (c *clusterStatus) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	server, client, err := reach(c.URL)
	if err != nil {
		return err
	}
	var found struct {
		Prefix string `json:"prefix"`
	}
	if err := getJSON(ctx, client, server+"/.well-known/gen-browser", &found); err != nil {
		return err
	}
	var answer json.RawMessage
	if err := getJSON(ctx, client, server+found.Prefix+"/cluster", &answer); err != nil {
		return err
	}
	if c.JSON {
		fmt.Fprintln(stdout, string(answer))
		return nil
	}
	var status web.ClusterStatus
	if err := json.Unmarshal(answer, &status); err != nil {
		return fmt.Errorf("%s answers no status: %w", c.URL, err)
	}
	return printCluster(stdout, &status)
}

// reach returns what the URLs of a server's routes begin with, and what gets there.
func reach(server string) (string, *http.Client, error) {
	u, err := url.Parse(server)
	switch {
	case err != nil:
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
		return strings.TrimRight(server, "/"), http.DefaultClient, nil
	case u.Scheme == "unix" && u.Host == "" && u.Path != "" && u.RawQuery == "" && u.Fragment == "":
		return "http://localhost", &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", u.Path)
		}}}, nil
	}
	return "", nil, fmt.Errorf("%q: want a URL such as http://localhost:8080 or unix:///run/gb.sock, percent-encoded where needed", server)
}

// getJSON reads what a server says in JSON, or the problem that it has.
func getJSON(ctx context.Context, client *http.Client, url string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %w", url, problem.Parse(resp.StatusCode, body))
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%s: the answer is no JSON; is it a GenBrowser server?", url)
	}
	return nil
}

func printCluster(w io.Writer, c *web.ClusterStatus) error {
	switch c.Mode {
	case "memory":
		fmt.Fprintln(w, "This server is alone and keeps mailboxes in memory: they end with it (serve --data keeps them).")
	case "durable":
		fmt.Fprintln(w, "This server is alone and keeps mailboxes in a log.")
	default:
		fmt.Fprintf(w, "A cluster of %d; * answers.\n", len(c.Nodes))
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nNODE\tID\tMAILBOXES\tBYTES\tHEARD\tSTATE\tSHARDS")
	for i := range c.Nodes {
		printNode(table, &c.Nodes[i])
	}
	if err := table.Flush(); err != nil {
		return err
	}
	printLog(w, c.Log)
	return nil
}

func printNode(w io.Writer, n *web.ClusterNode) {
	name, id, heard, state := n.Name, n.ID, fmt.Sprintf("%.1fs ago", n.Heard), "ok"
	if n.Self {
		name, heard = strings.TrimSpace(name+" *"), "-"
	}
	if id == "" {
		id = "-"
	}
	if n.Stalled {
		state = "stalled"
	}
	fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\t%s\n", name, id, n.Mailboxes, n.Bytes, heard, state, shardsText(n.Shards))
}

// shardsText is how many there are, and which, in ranges.
func shardsText(shards []int) string {
	var ranges []string
	for i := 0; i < len(shards); {
		last := i
		for last+1 < len(shards) && shards[last+1] == shards[last]+1 {
			last++
		}
		text := strconv.Itoa(shards[i])
		if last > i {
			text += "-" + strconv.Itoa(shards[last])
		}
		ranges = append(ranges, text)
		i = last + 1
	}
	return strings.TrimSpace(fmt.Sprintf("%d: %s", len(shards), strings.Join(ranges, ",")))
}

func printLog(w io.Writer, l *web.ClusterLog) {
	switch {
	case l == nil:
		return
	case l.Error != "":
		fmt.Fprintln(w, "\nThe log does not answer:", l.Error)
		return
	}
	fmt.Fprintf(w, "\nLog: %d entries, %d bytes, from %d to %d; %d since the newest snapshot.\n", l.Entries, l.Bytes, l.First, l.Last, l.Lag)
	if len(l.Replicas) == 0 {
		return
	}
	var replicas []string
	for _, r := range l.Replicas {
		text := r.Name
		switch {
		case r.Leader:
			text += " (leader)"
		case r.Offline:
			text += " (offline)"
		case r.Lag > 0:
			text += fmt.Sprintf(" (lacks %d)", r.Lag)
		}
		replicas = append(replicas, text)
	}
	fmt.Fprintln(w, "Replicas: "+strings.Join(replicas, ", "))
}
