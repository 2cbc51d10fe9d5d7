// The actor with the official Go SDK: it does what its message says, see ../../README.md.
package main

import (
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/apache/flink-statefun/statefun-sdk-go/v3/pkg/statefun"
)

type egressRecord struct {
	Topic   string `json:"topic"`
	Payload string `json:"payload"`
}

const (
	brief = 1500 * time.Millisecond
	ring  = 10_000
)

var (
	sinkType         = statefun.TypeNameFrom("probe/sink")
	egressType       = statefun.TypeNameFrom("io.statefun.playground/egress")
	egressRecordType = statefun.MakeJsonType(statefun.TypeNameFrom("io.statefun.playground/EgressRecord"))

	states = map[string]statefun.ValueSpec{
		"count": {Name: "count", ValueType: statefun.Int32Type},
		"big":   {Name: "big", ValueType: statefun.Int64Type},
		"ratio": {Name: "ratio", ValueType: statefun.Float32Type},
		"exact": {Name: "exact", ValueType: statefun.Float64Type},
		"flag":  {Name: "flag", ValueType: statefun.BoolType},
		"text":  {Name: "text", ValueType: statefun.StringType},
		"brief": {Name: "brief", ValueType: statefun.Int32Type, Expiration: statefun.ExpireAfterWrite(brief)},
		"used":  {Name: "used", ValueType: statefun.Int32Type, Expiration: statefun.ExpireAfterCall(brief)},
	}
)

func actor(ctx statefun.Context, message statefun.Message) error {
	for _, step := range strings.Split(message.AsString(), ";") {
		if err := act(ctx, strings.TrimSpace(step)); err != nil {
			return err
		}
	}
	return nil
}

func relay(ctx statefun.Context, message statefun.Message) error {
	var count int32
	ctx.Storage().Get(states["count"], &count)
	ctx.Storage().Set(states["count"], count+1)
	if left := message.AsInt32(); left > 0 {
		id := strconv.FormatInt((number(ctx.Self().Id)+1)%ring, 10)
		target := statefun.Address{FunctionType: ctx.Self().FunctionType, Id: id}
		ctx.Send(statefun.MessageBuilder{Target: target, Value: left - 1})
	}
	return nil
}

func act(ctx statefun.Context, step string) error {
	storage := ctx.Storage()
	verb, rest, _ := strings.Cut(step, " ")
	switch verb {
	case "add":
		var count int32
		storage.Get(states["count"], &count)
		storage.Set(states["count"], count+int32(number(rest)))
	case "put":
		name, value, _ := strings.Cut(rest, " ")
		storage.Set(states[name], parsed(name, value))
	case "clear":
		storage.Remove(states[rest])
	case "show":
		show(ctx, rest)
	case "send":
		words := strings.SplitN(rest, " ", 3)
		ctx.Send(command(address(words[0], words[1]), words[2]))
	case "burst":
		words := strings.SplitN(rest, " ", 4)
		for range number(words[0]) {
			ctx.Send(command(address(words[1], words[2]), words[3]))
		}
	case "after":
		millis, sent, _ := strings.Cut(rest, " ")
		ctx.SendAfter(time.Duration(number(millis))*time.Millisecond, command(ctx.Self(), sent))
	case "timer":
		words := strings.SplitN(rest, " ", 3)
		token, err := statefun.NewCancellationToken(words[1])
		if err != nil {
			return err
		}
		delay := time.Duration(number(words[0])) * time.Millisecond
		ctx.SendAfterWithCancellationToken(delay, token, command(ctx.Self(), words[2]))
	case "cancel":
		token, err := statefun.NewCancellationToken(rest)
		if err != nil {
			return err
		}
		ctx.CancelDelayedMessage(token)
	case "reply":
		ctx.Send(command(*ctx.Caller(), rest))
	case "tell":
		tell(ctx, rest)
	case "fail":
		return errors.New("asked to fail")
	default:
		return fmt.Errorf("no step: %s", step)
	}
	return nil
}

func address(typename, id string) statefun.Address {
	return statefun.Address{FunctionType: statefun.TypeNameFrom(typename), Id: id}
}

func command(target statefun.Address, step string) statefun.MessageBuilder {
	return statefun.MessageBuilder{Target: target, Value: step}
}

func number(text string) int64 {
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(err)
	}
	return value
}

func parsed(name, value string) interface{} {
	switch name {
	case "big":
		return number(value)
	case "ratio", "exact":
		float, err := strconv.ParseFloat(value, 64)
		if err != nil {
			panic(err)
		}
		if name == "ratio" {
			return float32(float)
		}
		return float
	case "flag":
		return value == "true"
	case "text":
		return value
	default:
		return int32(number(value))
	}
}

func show(ctx statefun.Context, name string) {
	var (
		integer int32
		big     int64
		ratio   float32
		exact   float64
		flag    bool
		text    string
	)
	receivers := map[string]interface{}{
		"count": &integer, "big": &big, "ratio": &ratio, "exact": &exact,
		"flag": &flag, "text": &text, "brief": &integer, "used": &integer,
	}
	sink := statefun.Address{FunctionType: sinkType, Id: ctx.Self().Id}
	receiver := receivers[name]
	if !ctx.Storage().Get(states[name], receiver) {
		ctx.Send(command(sink, "unset"))
		return
	}
	ctx.Send(statefun.MessageBuilder{Target: sink, Value: receiver, ValueType: states[name].ValueType})
}

func tell(ctx statefun.Context, text string) {
	who := "nobody"
	if caller := ctx.Caller(); caller != nil {
		who = caller.FunctionType.String() + "/" + caller.Id
	}
	count, value := "none", int32(0)
	if ctx.Storage().Get(states["count"], &value) {
		count = strconv.Itoa(int(value))
	}
	payload := fmt.Sprintf("%s: %s called by %s, count %s", text, ctx.Self().Id, who, count)
	ctx.SendEgress(statefun.GenericEgressBuilder{
		Target:    egressType,
		Value:     egressRecord{Topic: "news", Payload: payload},
		ValueType: egressRecordType,
	})
}

func main() {
	specs := make([]statefun.ValueSpec, 0, len(states))
	for _, spec := range states {
		specs = append(specs, spec)
	}
	functions := statefun.StatefulFunctionsBuilder()
	for _, typename := range []string{"suite/actor", "frail/actor"} {
		err := functions.WithSpec(statefun.StatefulFunctionSpec{
			FunctionType: statefun.TypeNameFrom(typename),
			States:       specs,
			Function:     statefun.StatefulFunctionPointer(actor),
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	err := functions.WithSpec(statefun.StatefulFunctionSpec{
		FunctionType: statefun.TypeNameFrom("suite/relay"),
		States:       []statefun.ValueSpec{states["count"]},
		Function:     statefun.StatefulFunctionPointer(relay),
	})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/statefun", functions.AsHandler())
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
